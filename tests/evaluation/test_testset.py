"""The frozen list is what it says, and a list mixes to the levels it names, every time alike."""

from collections import Counter

import numpy as np
import pytest
import soundfile

from audio_denoising.data.corpus import index_noise, index_speech
from audio_denoising.errors import UserError
from audio_denoising.evaluation.metrics import si_sdr
from audio_denoising.evaluation.testset import LONGEST, SNRS_DB, draw_list, frozen_list, load

RATE = 16_000


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Three speakers with five or six utterances each and two noise sources, named as in life."""
    root = tmp_path_factory.mktemp("corpora")
    rng = np.random.default_rng(0)

    def write(path, seconds):
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(int(seconds * RATE)), RATE)

    for speaker in (11, 12, 13):
        for number in range(5):
            name = f"{speaker}-1-000{number}.flac"
            write(root / "speech/LibriSpeech/test-other" / str(speaker) / "1" / name, 3 + number)
        write(root / f"speech/LibriSpeech/test-other/{speaker}/1/{speaker}-1-0009.flac", 1.0)
    for source in (500, 600):
        write(root / f"noise/UrbanSound8K/audio/fold10/{source}-1-0-0.wav", 2.5)
        write(root / f"noise/UrbanSound8K/audio/fold10/{source}-1-0-1.wav", 0.5)
    write(root / "speech/LibriSpeech/test-other/13/1/13-1-0008.flac", 9.0)
    return index_speech(root / "speech"), index_noise(root / "noise")


def test_the_frozen_list_covers_every_speaker_at_every_level():
    mixtures = frozen_list()
    assert len(mixtures) == 40
    per_speaker = Counter(mixture.speaker for mixture in mixtures)
    assert set(per_speaker.values()) == {4} and len(per_speaker) == 10
    assert {(m.speaker, m.snr_db) for m in mixtures} == {
        (speaker, snr) for speaker in per_speaker for snr in SNRS_DB
    }


def test_the_frozen_list_repeats_no_utterance_and_no_noise_recording():
    mixtures = frozen_list()
    assert len({mixture.utterance for mixture in mixtures}) == 40
    assert len({mixture.noise.split("-")[0] for mixture in mixtures}) == 40
    assert all(m.utterance.startswith(m.speaker.removeprefix("librispeech/")) for m in mixtures)


def test_drawing_is_a_function_of_the_seed(corpora):
    assert draw_list(*corpora, seed=4, speakers=3) == draw_list(*corpora, seed=4, speakers=3)
    assert draw_list(*corpora, seed=4, speakers=3) != draw_list(*corpora, seed=5, speakers=3)


def test_a_drawn_list_leaves_out_what_is_too_short(corpora):
    mixtures = draw_list(*corpora, speakers=3)
    assert len(mixtures) == 12
    assert not {mixture.utterance[-1] for mixture in mixtures} & {"9"}
    assert all(mixture.noise.endswith("-0-0") for mixture in mixtures)
    for speaker in {mixture.speaker for mixture in mixtures}:
        assert len({m.utterance for m in mixtures if m.speaker == speaker}) == 4


def test_mixtures_have_the_level_they_are_listed_with(corpora):
    speech, noise = corpora
    mixtures = draw_list(speech, noise, speakers=3)
    for mixture, clean, noisy in load(mixtures, speech, noise):
        assert clean.dtype == noisy.dtype == np.float32
        assert clean.shape == noisy.shape and 3 * RATE <= clean.size <= LONGEST
        snr = 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))
        assert snr == pytest.approx(mixture.snr_db, abs=0.01)
        assert si_sdr(noisy, clean) == pytest.approx(mixture.snr_db, abs=0.5)


def test_loading_twice_gives_the_same_samples(corpora):
    mixtures = draw_list(*corpora, speakers=3)
    for (_, _, first), (_, _, second) in zip(
        load(mixtures, *corpora), load(mixtures, *corpora), strict=True
    ):
        np.testing.assert_array_equal(first, second)


def test_another_corpus_is_refused_before_anything_is_mixed(corpora):
    with pytest.raises(UserError, match="40 utterances .* --speech"):
        load(frozen_list(), *corpora)


def test_too_few_speakers_or_no_noise_is_said_with_the_way_out(corpora):
    speech, noise = corpora
    with pytest.raises(UserError, match="needs 10 held-out speakers .* only 3"):
        draw_list(speech, noise)
    with pytest.raises(UserError, match="fold10"):
        draw_list(speech, [], speakers=3)
