"""SI-SDR and PSNR against values worked out by hand and against an independent formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from audio_denoising.dsp.measures import psnr, si_sdr

S = np.array([1.0, -1.0, 1.0, -1.0])
E = np.array([1.0, 1.0, -1.0, -1.0])  # orthogonal to S; both have mean 0


def test_si_sdr_by_hand_and_at_the_ends_of_the_scale() -> None:
    # 3 s + e keeps 9 * 4 of energy and loses 4, a ratio of 9.
    assert si_sdr(3 * S + E, S) == pytest.approx(10 * math.log10(9), abs=1e-12)
    assert si_sdr(S, S) == math.inf
    assert si_sdr(E, S) == si_sdr(np.zeros(4), S) == -math.inf


def test_si_sdr_follows_from_the_correlation_coefficient() -> None:
    # An independent form of the zero-mean definition: rho^2 / (1 - rho^2).
    rng = np.random.default_rng(4)
    clean = rng.standard_normal(1000)
    estimate = clean + 0.3 * rng.standard_normal(1000)
    rho = np.corrcoef(estimate, clean)[0, 1]
    value = si_sdr(estimate, clean)
    assert value == pytest.approx(10 * math.log10(rho**2 / (1 - rho**2)))
    # It ignores scale, sign of scale and offset.
    assert si_sdr(0.01 * estimate + 4.0, -7.0 * clean - 2.0) == pytest.approx(value)


def test_what_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="silent reference"):
        si_sdr(S, np.zeros(4))
    with pytest.raises(ValueError, match="one channel"):
        si_sdr(np.ones((2, 4)), np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"\(3,\) and reference \(4,\)"):
        si_sdr(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match=r"\(3,\) and reference \(4,\)"):
        psnr(torch.ones(3), torch.ones(4))


def test_psnr_by_hand() -> None:
    # Every pixel off by 0.1: the mean square is 0.01, so 20 dB below a peak of 1.
    images = torch.full((2, 1, 4, 8), 0.5)
    estimate = images + torch.tensor([0.1, 0.0])[:, None, None, None]
    assert psnr(estimate, images).tolist() == pytest.approx([20.0, math.inf], abs=1e-4)
