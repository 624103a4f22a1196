"""All scores of a recording: blank where they are not defined, left out where a package lacks."""

import numpy as np
import pytest

from audio_denoising.evaluation import scores as scores_module
from audio_denoising.evaluation.scores import missing, score
from tests.evaluation.conftest import voice


def test_a_silent_reference_leaves_what_is_not_defined_blank():
    scores = score(0.1 * voice(0), np.zeros_like(voice(0)))
    intrusive = scores.keys() - {"sig", "bak", "ovrl"}
    assert {scores[metric] for metric in intrusive} == {None}


def test_a_pair_too_short_for_pesq_and_stoi_keeps_the_other_metrics():
    short = voice(0)[3000:4600]
    scores = score(0.9 * short, short)
    assert scores["si_sdr"] == 60.0
    assert 0 < scores["lsd"] < 1 and scores["segmental_snr"] == pytest.approx(20, abs=0.1)
    assert {scores[m] for m in ("pesq_wb", "stoi", "estoi") if m in scores} <= {None}


def test_metrics_without_their_package_are_left_out(monkeypatch):
    there = scores_module.find_spec
    monkeypatch.setattr(
        scores_module, "find_spec", lambda name: None if name == "pesq" else there(name)
    )
    assert missing()["pesq"] == ("pesq_wb",)
    scores = score(voice(0), voice(0))
    assert "pesq_wb" not in scores and "si_sdr" in scores
