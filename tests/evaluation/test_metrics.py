"""The metrics against values worked out by hand and against independent formulas."""

import math
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_denoising.evaluation.metrics import (
    dnsmos,
    image_psnr,
    log_spectral_distance,
    pesq_wb,
    segmental_snr,
    stoi,
)
from audio_denoising.evaluation.scores import score
from tests.evaluation.conftest import RATE, voice


def test_pesq_gives_the_top_score_to_a_copy_and_less_to_noise():
    pytest.importorskip("pesq")
    clean = voice(0, 2.0)
    noise = np.random.default_rng(1).standard_normal(clean.size)
    copy, noisy = pesq_wb(clean, clean), pesq_wb(clean + 0.02 * noise, clean)
    assert copy == pytest.approx(4.644, abs=1e-3)  # P.862.2 maps the raw 4.5 to 4.644
    assert 1.0 < noisy < 3.0
    assert pesq_wb(clean + 0.002 * noise, clean) > noisy


@pytest.mark.parametrize("extended", [False, True])
def test_stoi_of_a_copy_is_one_and_too_little_speech_has_none(extended):
    pytest.importorskip("pystoi")
    clean = voice(0, 2.0)
    assert stoi(clean, clean, extended=extended) == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(ValueError, match="no score"):
        stoi(clean[:3200], clean[:3200], extended=extended)


def test_estoi_of_an_estimate_with_digital_silence_is_the_same_every_time():
    pytest.importorskip("pystoi")
    clean = voice(0, 2.0)
    estimate = clean.copy()
    estimate[clean.size // 3 : clean.size // 2] = 0
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first, second = (stoi(estimate, clean, extended=True) for _ in range(2))
    assert first == second != stoi(estimate, clean)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_the_segmental_snr_is_the_mean_over_frames_of_limited_ratios():
    # Of seconds at 15 dB, perfect, and drowned, which count as 35 and -10 dB.
    clean = np.random.default_rng(5).standard_normal(30 * RATE)
    error = np.repeat([10 ** (-15 / 20), 0.0, 10.0], 10 * RATE)
    assert segmental_snr((1 + error) * clean, clean) == pytest.approx((15 + 35 - 10) / 3, abs=0.02)


def test_the_segmental_snr_has_the_frames_of_the_published_code():
    time = np.arange(RATE) / RATE
    clean = np.sin(2 * np.pi * (100 + 900 * time) * time) * time**2
    processed = clean + 0.1 * np.sin(2 * np.pi * 333 * time)
    expected = 5.700395272149587  # of Loizou's comp_snr.m
    assert segmental_snr(processed, clean) == pytest.approx(expected, abs=1e-9)


@given(factor=st.floats(0.05, 1.0))
@settings(max_examples=20)
def test_the_log_spectral_distance_of_a_quieter_copy_is_its_attenuation(factor):
    # White noise keeps every bin well above the floor: all levels fall by the same amount.
    loud = 0.5 * np.random.default_rng(0).standard_normal(RATE).clip(-2, 2)
    assert log_spectral_distance(factor * loud, loud) == pytest.approx(
        -20 * math.log10(factor), abs=0.02
    )


# Nearer to 1 the attenuation is rounding, and a PSNR of 330 dB has no exact value.
@given(factor=st.floats(0.05, 1 - 1e-9) | st.just(1.0))
@settings(max_examples=20)
def test_the_image_psnr_of_a_quieter_copy_is_that_of_its_attenuation(factor):
    # 80 dB are one unit of the image.
    loud = 0.5 * np.random.default_rng(0).standard_normal(RATE).clip(-2, 2)
    assert image_psnr(factor * loud, loud) == pytest.approx(
        math.inf if factor == 1 else -20 * math.log10(-20 * math.log10(factor) / 80), abs=0.02
    )


@pytest.mark.parametrize(
    "metric", [pesq_wb, stoi, segmental_snr, log_spectral_distance, image_psnr]
)
def test_silence_other_lengths_and_too_little_are_refused(metric):
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    with pytest.raises(ValueError, match="silent reference"):
        metric(np.ones(RATE), np.zeros(RATE))
    with pytest.raises(ValueError, match="differ"):
        metric(np.ones(RATE), np.ones(RATE - 1))
    if metric in (pesq_wb, stoi):
        with pytest.raises(ValueError, match="no score"):
            metric(np.ones(100), np.ones(100))


def hiss(samples: int) -> np.ndarray:
    time = np.arange(samples) / RATE
    noise = np.random.default_rng(samples).standard_normal(samples)
    return (0.05 * noise * (1 + np.sin(2 * np.pi * 2 * time))).clip(-1, 1).astype(np.float32)


@pytest.fixture
def theirs(monkeypatch):
    """The package's own code; librosa serves another score of it, which is not asked for."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("speechmos")
    for name in ("librosa", "requests"):
        stand_in = types.ModuleType(name)
        stand_in.session = None
        monkeypatch.setitem(sys.modules, name, stand_in)
    monkeypatch.delitem(sys.modules, "speechmos.dnsmos", raising=False)
    from speechmos import dnsmos as package

    flat = np.zeros((900, 120), np.float32)
    monkeypatch.setattr(package.DNSMOS, "audio_melspec", lambda self, audio: flat)
    return package.run


@pytest.mark.parametrize("samples", [3_000, 144_160, 11 * RATE + 7])
def test_dnsmos_is_that_of_the_package(theirs, samples):
    expected = theirs(hiss(samples), RATE)
    published = [expected[key] for key in ("sig_mos", "bak_mos", "ovrl_mos")]
    assert dnsmos(hiss(samples)) == pytest.approx(published, abs=1e-4)


def test_what_dnsmos_cannot_judge_is_refused():
    with pytest.raises(ValueError, match="one channel"):
        dnsmos(np.zeros(0, np.float32))


# All scores of a recording


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
