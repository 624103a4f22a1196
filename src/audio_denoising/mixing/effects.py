"""What can be done to a batch of waveforms at once: random filters, coloured noise, clipping.

Letters: ``N`` waveforms, ``L`` samples, ``F = size // 2 + 1`` bins of a spectrum of ``size``
samples. Plain tensor operations on any device; every row is treated as if it were alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audio_denoising.dsp.spectrum import SAMPLE_RATE

NYQUIST = SAMPLE_RATE / 2
COLOURING = 3 / 8  # the largest r of `second_order`

_LOW_SLOPE = 1 / 2  # of the lower end of a band: where nothing is left
_HIGH_SLOPE = 1.15  # of the upper end
_AUDIBLE_HZ = 20.0

# SplitMix64 (Steele, Lea and Flood, 2014), as signed 64-bit numbers.
_STEP, _MIX_1, _MIX_2 = (
    number - 2**64 for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def frequencies(size: int, device: torch.device) -> Tensor:
    """Hertz of the bins of a real spectrum, ``(F,)``."""
    return torch.linspace(0, NYQUIST, size // 2 + 1, device=device)


def second_order(r: Tensor, hertz: Tensor) -> Tensor:
    """Response of a filter that tilts a spectrum or raises and lowers a part of it.

        H(z) = (1 + r1/z + r2/z²) / (1 + r3/z + r4/z²)

    With every r within ±3/8 it is stable, forgets within 10 ms, and stays within ±17 dB at each
    end of the spectrum. Valin: A hybrid DSP/deep learning approach to real-time full-band speech
    enhancement, MMSP 2018.

    Args:
        r: ``(N, 4)``; zeros change nothing.
        hertz: ``(F,)``, of `frequencies`.

    Returns:
        Complex ``(N, F)``.
    """
    turn = torch.polar(torch.ones_like(hertz), -math.pi / NYQUIST * hertz)  # 1/z
    r1, r2, r3, r4 = r.unsqueeze(-1).unbind(dim=1)
    return (1 + turn * (r1 + turn * r2)) / (1 + turn * (r3 + turn * r4))


def band(low_hz: Tensor, high_hz: Tensor, hertz: Tensor) -> Tensor:
    """Response of a channel that passes ``low_hz`` to ``high_hz`` unchanged, without delay.

    Raised cosines lead down to nothing, at half of ``low_hz`` and at 1.15 times ``high_hz``.

    Args:
        low_hz: ``(N, 1)``; 0 lets through all that is low.
        high_hz: ``(N, 1)``; 8000 lets through all that is high.
        hertz: ``(F,)``.

    Returns:
        Real ``(N, F)`` in [0, 1].
    """
    tiny = 1e-6  # a lower end at 0 must not divide by 0
    rise = (hertz - _LOW_SLOPE * low_hz + tiny) / ((1 - _LOW_SLOPE) * low_hz + tiny)
    fall = (_HIGH_SLOPE * high_hz - hertz) / ((_HIGH_SLOPE - 1) * high_hz)
    return _raised_cosine(rise) * _raised_cosine(fall)


def coloured_noise(seeds: Tensor, exponents: Tensor, length: int) -> Tensor:
    """Noise whose power falls as 1/f^exponent: white 0, pink 1, brown 2, blue -1.

    Every bin of the spectrum gets the magnitude f^(-exponent/2) and a random phase (after Timmer
    and König: On generating power law noise, 1995). Below 20 Hz there is nothing: brown noise
    would otherwise be all rumble that nobody hears.

    Args:
        seeds: int64 ``(N,)`` or ``(N, 1)``; a seed gives the same noise on every device.
        exponents: ``(N, 1)``.
        length: ``L``.

    Returns:
        ``(N, L)`` of the type of ``exponents``, power 1.
    """
    size = length + length % 2
    hertz = frequencies(size, exponents.device).to(exponents)
    audible = hertz >= _AUDIBLE_HZ
    magnitude = torch.where(audible, (hertz.clamp(min=_AUDIBLE_HZ) / 1000) ** (-exponents / 2), 0.0)
    phase = 2 * math.pi * _uniform(seeds.reshape(-1, 1), len(hertz)).to(exponents)
    waveform = torch.fft.irfft(torch.polar(magnitude, phase), size)[:, :length]
    return waveform / waveform.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=1e-20)


def clip(waveform: Tensor, share: Tensor) -> Tensor:
    """Cuts the loudest ``share`` of the samples off at one level, as an overdriven input does.

    Args:
        waveform: ``(N, L)``.
        share: ``(N, 1)`` in main memory, from 0 (nothing changes) to below 1.

    Returns:
        ``(N, L)``. Where fewer samples than the share sound at all, nothing is cut.
    """
    length = waveform.shape[-1]
    last = (share * length).long().clamp(max=length - 1)
    levels = waveform.abs().topk(int(last.max()) + 1, dim=-1).values  # the loudest first
    limit = levels.gather(-1, last.to(levels.device))
    limit = torch.where(limit > 0, limit, levels[:, :1])
    return torch.minimum(torch.maximum(waveform, -limit), limit)


def _raised_cosine(position: Tensor) -> Tensor:
    """0 below 0, 1 above 1, and half a cosine between."""
    return 0.5 - 0.5 * torch.cos(math.pi * position.clamp(0.0, 1.0))


def _uniform(seeds: Tensor, count: int) -> Tensor:
    """Random float32 ``(N, count)`` in [0, 1), the same on every device, from int64 ``(N, 1)``."""
    state = seeds + _STEP * torch.arange(1, count + 1, device=seeds.device)
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        state = (state ^ _shifted(state, shift)) * factor
    return _shifted(state ^ _shifted(state, 31), 40).float() / 2**24


def _shifted(state: Tensor, bits: int) -> Tensor:
    """An unsigned shift to the right of signed numbers."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)
