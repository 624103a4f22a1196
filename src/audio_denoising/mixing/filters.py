"""What changes the sound of a whole batch, filters and rooms, as factors of its spectra."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.mixing.bank import SoundBank, to_device
from audio_denoising.mixing.choices import Choices
from audio_denoising.mixing.rooms import LENGTH, made_rooms

_SLOPE = 500.0  # Hz from full to nothing at the edge of a low-pass


def filtered(sounds: Tensor, drawn: Choices, made: SoundBank, rooms: Tensor) -> Tensor:
    """Speech and noise ``(2, N, size)`` as the choices have them coloured, the speech in its rooms.

    Args:
        made: noise, of which the reverberation of made rooms is cut.
        rooms: measured responses ``(R, K)``.
    """
    device, size = sounds.device, sounds.shape[-1]
    spectra = torch.fft.rfft(sounds)
    coefficients = to_device(drawn.biquads.astype(np.float32), device)
    spectra[0] *= biquad(coefficients[:, 0], size)
    spectra[1] *= biquad(coefficients[:, 1], size)
    spectra *= low_pass(to_device(drawn.cutoff, device), size)
    inside = np.flatnonzero(drawn.room > -2)
    if len(inside):
        noise = made.read(drawn.tail.take(inside), LENGTH)
        t60, direct = to_device(np.stack((drawn.t60[inside], drawn.direct[inside])), device)
        responses = made_rooms(noise, t60, direct)
        measured = np.flatnonzero(drawn.room[inside] >= 0)
        if len(measured):
            numbers = to_device(drawn.room[inside][measured], device)
            responses.index_copy_(0, to_device(measured, device), rooms[numbers])
        place = to_device(inside, device)
        heard = spectra[0][place] * torch.fft.rfft(responses, n=size)
        spectra[0].index_copy_(0, place, heard)
    return torch.fft.irfft(spectra, n=size)


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


def low_pass(cutoff: Tensor, size: int) -> Tensor:
    """Gain ``(N, size // 2 + 1)`` of low-passes without delay, half at ``cutoff`` ``(N,)`` Hz."""
    frequency = torch.arange(size // 2 + 1, device=cutoff.device) * (SAMPLE_RATE / size)
    edge = ((cutoff.float()[:, None] - frequency) / _SLOPE + 0.5).clamp(0, 1)
    return 0.5 - 0.5 * (math.pi * edge).cos()


@cache
def fast_size(least: int) -> int:
    """The smallest even product of 2, 3 and 5 that is not below ``least``: fast to transform."""
    size = max(2, least + least % 2)
    while pow(30, size.bit_length(), size):  # it divides a power of 30 if it has no other factors
        size += 2
    return size
