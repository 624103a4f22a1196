"""The frozen list is dealt out evenly and mixes as listed; other test sets are read or refused."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from audio_denoising.errors import UserError
from audio_denoising.evaluation.metrics import si_sdr
from audio_denoising.evaluation.testset import (
    CLEAN,
    HELD_OUT,
    UNSEEN,
    URBANSOUND_CLASSES,
    Row,
    digest,
    folder_items,
    frozen_items,
    frozen_list,
    halves,
    noise_class,
)

RATE = 16_000
ROWS = [
    Row(HELD_OUT, 1, "librispeech/11", "11-1-0000", 80_000, "car horn", "501-1-0-0", 999, 5.0, ""),
    Row(UNSEEN, 1, "librispeech/12", "12-1-0000", 80_000, "modem", "modem-1", 10, 15.0, ""),
    Row(UNSEEN, 2, "librispeech/20", "20-1-0001", 75_200, "talkers", "talkers-1", 0, 0.0, ""),
    Row(CLEAN, 1, "librispeech/13", "13-1-0000", 80_000, "", "", 0, None, ""),
]


def of(part):
    return [row for row in frozen_list() if row.part == part]


def test_every_speaker_and_every_class_come_up_equally_often_at_each_level():
    rows = of(HELD_OUT)
    assert len(rows) == 160
    for key in ("speaker", "noise_class"):
        count = Counter((getattr(row, key), row.snr_db) for row in rows)
        assert len(count) == 40 and set(count.values()) == {4}
    assert {row.snr_db for row in rows} == {0.0, 5.0, 10.0, 15.0}
    assert {row.noise_class for row in rows} == set(URBANSOUND_CLASSES)
    assert all(noise_class(row.noise) == row.noise_class for row in rows)


def test_unseen_noise_is_dealt_out_evenly_and_nobody_talks_over_himself():
    rows = of(UNSEEN)
    assert len(rows) == 40
    assert set(Counter((row.noise, row.snr_db) for row in rows).values()) == {1}
    assert set(Counter((row.speaker, row.snr_db) for row in rows).values()) == {1}
    assert not {row.noise_class for row in rows} & set(URBANSOUND_CLASSES)
    for variant, half in enumerate(halves(frozen_list()), 1):
        babbled = {row.speaker for row in rows if row.noise == f"talkers-{variant}"}
        assert len(half) == 5 and not babbled & half.keys()


def test_the_list_holds_no_mixture_twice():
    rows = frozen_list()
    assert len({row.sha256 for row in rows}) == len(rows) == 220
    assert all(row.utterance.split("-")[0] == row.speaker.split("/")[1] for row in rows)
    assert Counter(row.speaker for row in of(CLEAN)).most_common()[0][1] == 2


@pytest.fixture(scope="module")
def items(corpora, tmp_path_factory):
    return frozen_items(ROWS, *corpora, tmp_path_factory.mktemp("noise"))


def test_mixtures_have_the_level_they_are_listed_with(items):
    for row, item in zip(ROWS[:2], items[:2], strict=True):
        clean, noisy, rate = item.load()
        assert (clean.dtype, noisy.dtype, rate) == (np.float32, np.float32, RATE)
        assert clean.shape == noisy.shape == (row.samples,)
        snr = 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))
        assert snr == pytest.approx(row.snr_db, abs=0.01)
    clean, noisy, _ = items[0].load()
    assert si_sdr(noisy, clean) == pytest.approx(5.0, abs=0.5)


def test_clean_speech_has_no_noise(items):
    clean, noisy, _ = items[-1].load()
    np.testing.assert_array_equal(clean, noisy)
    assert items[-1].snr_db is None


def test_loading_again_gives_the_same_samples(items, corpora, tmp_path_factory):
    again = frozen_items(ROWS, *corpora, tmp_path_factory.mktemp("again"))
    assert [digest(item.load()[1]) for item in again] == [digest(item.load()[1]) for item in items]


def test_another_corpus_is_refused_before_anything_is_mixed(corpora, tmp_path):
    with pytest.raises(UserError, match=r"65 utterances .* --speech .* test-other"):
        frozen_items(frozen_list(), *corpora, tmp_path)
    lost = [replace(ROWS[0], noise="1-2-3-4")]
    with pytest.raises(UserError, match=r"1 noise clips .* 1-2-3-4 .* --noise .* fold10"):
        frozen_items(lost, *corpora, tmp_path)


def test_the_noise_class_comes_from_the_file_name():
    assert noise_class("audio/fold10/157800-6-0-0.wav") == "gun shot"
    assert noise_class("esc10/rain/1-17367-A.opus") == "rain"
    assert noise_class("drill.wav") == "noise"


def test_a_folder_of_data_mix_is_read_with_levels_and_kinds(set_folder):
    items = folder_items(set_folder)
    assert [item.snr_db for item in items] == [5, 10, 5, 10]
    assert Counter(item.noise_class for item in items) == {"dog bark": 2, "rain": 2}
    clean, noisy, rate = items[0].load()
    assert rate == RATE and clean.shape == noisy.shape
    assert si_sdr(noisy, clean) == pytest.approx(5.0, abs=0.5)


def test_a_folder_without_manifest_is_paired_by_name(set_folder):
    (set_folder / "manifest.csv").unlink()
    items = folder_items(set_folder)
    assert [item.name for item in items] == ["0000", "0001", "0002", "0003"]
    assert {item.snr_db for item in items} == {None}
    (set_folder / "noisy/0002.wav").unlink()
    with pytest.raises(UserError, match=r"0002.wav in only one of clean/ and noisy/"):
        folder_items(set_folder)


def test_stereo_pairs_at_another_rate_and_a_little_off_are_read(set_folder):
    (set_folder / "manifest.csv").unlink()
    rng = np.random.default_rng(0)
    tone = rng.standard_normal((44_100, 2)) * 0.1
    soundfile.write(set_folder / "clean/0000.wav", tone, 44_100)
    soundfile.write(set_folder / "noisy/0000.wav", tone[441:], 44_100)
    clean, noisy, rate = folder_items(set_folder)[0].load()
    assert rate == 44_100 and clean.shape == noisy.shape == (44_100 - 441,)
    np.testing.assert_allclose(clean, noisy, atol=1e-4)


def set_folders_that_are_no_test_set_are_refused_with_a_sentence(set_folder, tmp_path):
    with pytest.raises(UserError, match=r"has no folder clean: .*denoise data mix"):
        folder_items(tmp_path)
    soundfile.write(set_folder / "clean/0001.wav", np.zeros(RATE), RATE)
    with pytest.raises(UserError, match=r"0001.wav lasts 1.000 s and .*0001.wav 2.300 s"):
        folder_items(set_folder)
    soundfile.write(set_folder / "clean/0001.wav", np.zeros(16_000), 8_000)
    with pytest.raises(UserError, match=r"8000 Hz and .* 16000 Hz"):
        folder_items(set_folder)
    (set_folder / "clean/0001.wav").write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"0001.wav"):
        folder_items(set_folder)
    (set_folder / "manifest.csv").write_text("id,clean\n1,clean/0001.wav\n")
    with pytest.raises(UserError, match=r"manifest.csv is not a manifest"):
        folder_items(set_folder)
    (set_folder / "manifest.csv").write_text("id\n")
    with pytest.raises(UserError, match="holds no recordings"):
        folder_items(set_folder)
