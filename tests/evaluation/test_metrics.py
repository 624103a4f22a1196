"""The metrics against values worked out by hand and against independent formulas."""

import math

import numpy as np
import pytest

from audio_denoising.errors import UserError
from audio_denoising.evaluation import metrics
from audio_denoising.evaluation.metrics import pesq_wb, psnr, si_sdr, stoi

RATE = 16_000


def speech_like(seed: int = 0, seconds: float = 2.0) -> np.ndarray:
    """Bursts of a swept harmonic tone: enough for PESQ's and STOI's voice detectors."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.9 * time)) / RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 25))
    bursts = 0.5 * (1 + np.sin(2 * np.pi * 3 * time)) ** 2
    return 0.05 * (voice * bursts + 0.01 * rng.standard_normal(time.size))


def test_si_sdr_of_a_pair_worked_out_by_hand():
    # s = (1, -1, 1, -1), e = (1, 1, -1, -1) is orthogonal to it and both have mean 0:
    # the estimate 3 s + e keeps 9 * 4 of energy and loses 4, a ratio of 9.
    s = np.array([1.0, -1.0, 1.0, -1.0])
    e = np.array([1.0, 1.0, -1.0, -1.0])
    assert si_sdr(3 * s + e, s) == pytest.approx(10 * math.log10(9), abs=1e-12)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 7.5, 30.0])
def test_si_sdr_is_the_snr_when_the_noise_is_orthogonal(snr_db):
    time = np.arange(RATE) / RATE
    clean = np.sin(2 * np.pi * 100 * time)
    noise = np.cos(2 * np.pi * 100 * time) * 10 ** (-snr_db / 20)
    assert si_sdr(clean + noise, clean) == pytest.approx(snr_db, abs=1e-6)


def test_si_sdr_ignores_scale_sign_of_scale_and_offset():
    rng = np.random.default_rng(3)
    clean, estimate = rng.standard_normal(500), rng.standard_normal(500)
    value = si_sdr(estimate, clean)
    assert si_sdr(0.01 * estimate, clean) == pytest.approx(value)
    assert si_sdr(estimate, -7.0 * clean) == pytest.approx(value)
    assert si_sdr(estimate + 4.0, clean - 2.0) == pytest.approx(value)


def test_si_sdr_follows_from_the_correlation_coefficient():
    # An independent form of the zero-mean definition: rho^2 / (1 - rho^2).
    rng = np.random.default_rng(4)
    clean = rng.standard_normal(1000)
    estimate = clean + 0.3 * rng.standard_normal(1000)
    rho = np.corrcoef(estimate, clean)[0, 1]
    assert si_sdr(estimate, clean) == pytest.approx(10 * math.log10(rho**2 / (1 - rho**2)))


def test_si_sdr_at_the_ends_of_the_scale():
    s = np.array([1.0, -1.0, 1.0, -1.0])
    assert si_sdr(s, s) == math.inf
    assert si_sdr(np.array([1.0, 1.0, -1.0, -1.0]), s) == -math.inf
    assert si_sdr(np.zeros(4), s) == -math.inf
    with pytest.raises(ValueError, match="silent reference"):
        si_sdr(s, np.zeros(4))


@pytest.mark.parametrize("metric", [si_sdr, psnr])
def test_shapes_must_agree(metric):
    with pytest.raises(ValueError, match=r"\(3,\) and reference \(4,\)"):
        metric(np.ones(3), np.ones(4))


def test_si_sdr_takes_one_channel():
    with pytest.raises(ValueError, match="one channel"):
        si_sdr(np.ones((2, 4)), np.ones((2, 4)))


def test_psnr_by_hand():
    # Every pixel off by 0.1: the mean square is 0.01, so 20 dB below a peak of 1.
    image = np.full((4, 8), 0.5)
    assert psnr(image + 0.1, image) == pytest.approx(20.0)
    assert psnr(10 * (image + 0.1), 10 * image, peak=10.0) == pytest.approx(20.0)
    assert psnr(image, image) == math.inf


def test_pesq_gives_the_top_score_to_a_copy_and_less_to_noise():
    pytest.importorskip("pesq")
    clean = speech_like()
    noise = np.random.default_rng(1).standard_normal(clean.size)
    copy, noisy = pesq_wb(clean, clean, RATE), pesq_wb(clean + 0.02 * noise, clean, RATE)
    assert copy == pytest.approx(4.644, abs=1e-3)  # P.862.2 maps the raw 4.5 to 4.644
    assert 1.0 < noisy < 3.0
    assert pesq_wb(clean + 0.002 * noise, clean, RATE) > noisy


def test_pesq_refuses_other_rates_and_silence():
    with pytest.raises(ValueError, match="44100 Hz"):
        pesq_wb(np.ones(100), np.ones(100), 44_100)
    with pytest.raises(ValueError, match="silent reference"):
        pesq_wb(np.ones(RATE), np.zeros(RATE), RATE)
    pytest.importorskip("pesq")
    with pytest.raises(ValueError, match="no score"):
        pesq_wb(np.ones(100), np.ones(100), RATE)


def test_stoi_orders_as_intelligibility_does():
    pytest.importorskip("pystoi")
    clean = speech_like()
    noise = np.random.default_rng(1).standard_normal(clean.size)
    assert stoi(clean, clean, RATE) == pytest.approx(1.0, abs=1e-6)
    assert stoi(clean + 0.01 * noise, clean, RATE) > stoi(clean + 0.3 * noise, clean, RATE)


@pytest.mark.parametrize(("metric", "package"), [(pesq_wb, "pesq"), (stoi, "pystoi")])
def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch, metric, package):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(metrics, "import_module", refuse)
    with pytest.raises(UserError, match=rf"{package}, which is not .*\[evaluation\]"):
        metric(speech_like(), speech_like(), RATE)
