"""What changes the colour of a sound, as factors of its spectrum."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from audio_denoising.dsp.constants import SAMPLE_RATE

_RISE, _FALL = 100.0, 500.0  # Hz from nothing to full and back at the edges of a band


def biquad(coefficients: Tensor, size: int) -> Tensor:
    """Frequency response ``(N, size // 2 + 1)`` of filters with two poles and two zeros.

        H(z) = (1 + b1 z^-1 + b2 z^-2) / (1 + a1 z^-1 + a2 z^-2)

    The coefficients are ``(N, 4)``, b1, b2, a1 and a2; all 0 changes nothing. The poles of
    coefficients up to 3/8 lie within 0.83, so the response has died away (-80 dB) after 50 samples
    and hardly goes round in a transform of ``size`` samples.
    """
    angle = torch.arange(size // 2 + 1, device=coefficients.device) * (2 * math.pi / size)
    one = torch.polar(torch.ones_like(angle), -angle)
    b1, b2, a1, a2 = coefficients.float().unsqueeze(-1).unbind(1)
    return ((b2 * one + b1) * one + 1) / ((a2 * one + a1) * one + 1)


def band_pass(rise: Tensor, cutoff: Tensor, size: int) -> Tensor:
    """Gain ``(N, size // 2 + 1)`` of bands without delay, half at ``rise`` and ``cutoff``, ``(N,)``
    in Hz; infinite ones are no edges."""
    frequency = torch.arange(size // 2 + 1, device=cutoff.device) * (SAMPLE_RATE / size)
    below, above = frequency - rise.float()[:, None], cutoff.float()[:, None] - frequency
    edges = torch.stack((below / _RISE, above / _FALL)).add(0.5).clamp(0, 1)
    return (0.5 - 0.5 * (math.pi * edges).cos()).prod(0)


@cache
def fast_size(least: int) -> int:
    """The smallest even product of 2, 3 and 5 that is not below ``least``: fast to transform."""
    size = max(2, least + least % 2)
    while pow(30, size.bit_length(), size):  # it divides a power of 30 if it has no other factors
        size += 2
    return size
