"""An evaluation scores everybody on everything, the same on any number of processes."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from audio_denoising.errors import UserError
from audio_denoising.evaluation.frozen_lists import CLEAN, Mixture, frozen_items
from audio_denoising.evaluation.judging import Candidate, candidates, evaluate
from audio_denoising.evaluation.results import NOISY
from audio_denoising.evaluation.scores import METRICS
from audio_denoising.evaluation.testset import folder_items
from tests.evaluation.conftest import ROWS, voice

RATE = 16_000


class Oracle(Candidate):
    """Knows the clean speech: takes nine tenths of the noise away."""

    is_peer = True  # no weights

    def build(self):
        voices = [voice(seed) for seed in range(4)]

        def clean(noisy, rate):
            best = max(voices, key=lambda v: float(v @ noisy))
            return (0.9 * best + 0.1 * noisy).astype(np.float32)

        return clean


class Mute(Oracle):
    """Lets nothing pass."""

    def build(self):
        return lambda noisy, rate: np.zeros_like(noisy)


ORACLE, MUTE = Oracle("oracle", "oracle"), Mute("mute", "mute")


def test_every_candidate_is_scored_on_every_item(set_folder):
    done = []
    items = folder_items(set_folder)[:2]
    found = evaluate(items, [ORACLE, MUTE], jobs=1, progress=done.append)
    assert done == [1, 2]
    assert [result.snr_db for result in found.results] == [5, 10]
    for result in found.results:
        assert list(result.scores) == [NOISY, "oracle", "mute"]
        noisy, oracle = result.scores[NOISY], result.scores["oracle"]
        assert noisy["si_sdr"] == pytest.approx(result.snr_db, abs=0.5)
        assert oracle["si_sdr"] == pytest.approx(result.snr_db + 20, abs=0.5)
        for metric in noisy.keys() - {"sig", "bak", "ovrl"}:
            better = oracle[metric] - noisy[metric]
            assert better > 0 if METRICS[metric].rising else better < 0, metric
        assert result.scores["mute"]["si_sdr"] == -60.0  # a silent output counts, but finitely
        assert result.seconds == 2.3
    assert found.real_time_factor.keys() == {"oracle", "mute"}


def test_two_processes_give_the_numbers_of_one(set_folder):
    items = folder_items(set_folder)[:2]
    models = candidates(["v2"], peers=False)
    alone = evaluate(items, models, jobs=1)
    assert evaluate(items, models, jobs=2).results == alone.results
    assert alone.weights == {"v2": models[0].digest()} and len(alone.weights["v2"]) == 32


def test_clean_speech_is_not_scored_as_noisy_input(corpora, tmp_path):
    clean = [item for item in frozen_items(ROWS, *corpora, tmp_path) if item.part == CLEAN]
    (result,) = evaluate(clean, [MUTE], jobs=1).results
    assert list(result.scores) == ["mute"] and result.snr_db is None


def test_models_go_by_file_and_folder_and_unknown_ones_are_refused(tmp_path):
    (found,) = candidates([str(tmp_path / "runs/v4-small/best.pth")], peers=False)
    assert found.title == "v4-small/best.pth"
    with pytest.raises(UserError, match="no checkpoint at"):
        found.build()


def test_a_clip_that_cannot_be_decoded_is_named(corpora, tmp_path):
    broken = tmp_path / "broken.wav"
    soundfile.write(broken, voice(0), RATE)
    (item,) = frozen_items(ROWS[-1:], *corpora, tmp_path)
    row = replace(item.source.row, samples=8 * RATE)
    speech = replace(item.source.speech, path=broken, frames=10 * RATE)
    with pytest.raises(UserError, match=r"broken.wav: it ends early"):
        evaluate([replace(item, source=Mixture(row, speech, None))], [], jobs=1)
