"""The picture the network sees, and the way back: waveform <-> STFT <-> decibel image.

Letters: ``L`` samples, ``F`` = 256 frequency bins, ``T`` frames; ``...`` is any number of leading
batch or channel dimensions. Everything is a batched torch operation on any device, in float32 or
float64, and the same functions serve training and cleaning.

Levels are decibels relative to digital full scale, from the floor of -80 dB to 0 dB.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from audio_denoising.dsp.constants import BINS as BINS
from audio_denoising.dsp.constants import FFT_SIZE as FFT_SIZE
from audio_denoising.dsp.constants import FLOOR_DB as FLOOR_DB
from audio_denoising.dsp.constants import FRAMES as FRAMES
from audio_denoising.dsp.constants import HOP as HOP
from audio_denoising.dsp.constants import SAMPLE_RATE as SAMPLE_RATE
from audio_denoising.dsp.constants import SEGMENT as SEGMENT

_HALF = FFT_SIZE // 2


@lru_cache(maxsize=16)
def _window(dtype: torch.dtype, device: torch.device) -> Tensor:
    # Built outside inference mode: a cached inference tensor could not be used by autograd later.
    with torch.inference_mode(False):
        return torch.hann_window(FFT_SIZE, dtype=dtype, device=device)


def stft(waveform: Tensor) -> Tensor:
    """Short-time Fourier transform of real waveforms.

    Centred frames of 512 samples, periodic Hann window, hop 160. The ends are mirrored; a signal
    too short to be mirrored (256 samples or fewer) is continued with zeros instead.

    Args:
        waveform: real tensor ``(..., L)``, full scale is 1.

    Returns:
        Complex tensor ``(..., 257, T)`` with ``T = L // 160 + 1``.
    """
    length = waveform.shape[-1]
    flat = waveform.reshape(-1, length)
    padded = pad(flat, (_HALF, _HALF), mode="reflect" if length > _HALF else "constant")
    spectrum = torch.stft(
        padded,
        FFT_SIZE,
        hop_length=HOP,
        window=_window(waveform.dtype, waveform.device),
        center=False,
        return_complex=True,
    )
    return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[-2:])


def istft(spectrum: Tensor, length: int) -> Tensor:
    """Inverse of :func:`stft` by weighted overlap-add (Griffin and Lim, 1984).

    Args:
        spectrum: complex tensor ``(..., 257, T)``.
        length: samples ``L`` of the waveform wanted, at most those that :func:`stft` was given.

    Returns:
        Real tensor ``(..., length)``.
    """
    real = spectrum.real.dtype
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])
    waveform = torch.istft(
        flat,
        FFT_SIZE,
        hop_length=HOP,
        window=_window(real, spectrum.device),
        center=True,
        length=length,
    )
    return waveform.reshape(*spectrum.shape[:-2], length)


def level_db(spectrum: Tensor) -> Tensor:
    """Level of each bin in dB relative to full scale, clamped to [-80, 0].

    The magnitude is scaled by ``2 / sum(window)``, so that a full-scale sine peaks at 0 dB
    whatever the window. The Nyquist bin is dropped.

    Args:
        spectrum: complex tensor ``(..., 257, T)``.

    Returns:
        Real tensor ``(..., 256, T)``.
    """
    bins = spectrum[..., :BINS, :]
    window_sum = FFT_SIZE / 2  # of the periodic Hann window, exactly
    floor = 10.0 ** (FLOOR_DB / 10.0)
    # In place: fresh memory for every step would take longer than the arithmetic.
    power = bins.real.square()
    power += bins.imag.square()
    power *= (2.0 / window_sum) ** 2
    return power.clamp_(min=floor, max=1.0).log10_().mul_(10.0)


def image(spectrum: Tensor) -> Tensor:
    """Decibel image in [0, 1]: 0 is -80 dB or less, 1 is full scale.

    Args:
        spectrum: complex tensor ``(..., 257, T)``.

    Returns:
        Real tensor ``(..., 256, T)``.
    """
    return level_db(spectrum).sub_(FLOOR_DB).div_(-FLOOR_DB).clamp_(0.0, 1.0)


def gain(predicted_image: Tensor, noisy_image: Tensor) -> Tensor:
    """Linear gain that takes the noisy image to the predicted one; never above 1.

    A difference of one whole image unit is 80 dB. The Nyquist bin, which the image does not show,
    takes the gain of its neighbour.

    Args:
        predicted_image: real tensor ``(..., 256, T)`` in [0, 1].
        noisy_image: real tensor of the same shape.

    Returns:
        Real tensor ``(..., 257, T)`` in (0, 1].
    """
    decibels = (predicted_image - noisy_image).clamp(max=0.0) * -FLOOR_DB
    linear = torch.pow(10.0, decibels / 20.0)
    return torch.cat((linear, linear[..., -1:, :]), dim=-2)


def apply_image(spectrum: Tensor, predicted_image: Tensor) -> Tensor:
    """Give the noisy spectrum the predicted levels and keep its phase.

    An unmodified image gives the spectrum back unchanged.

    Args:
        spectrum: noisy complex tensor ``(..., 257, T)``.
        predicted_image: real tensor ``(..., 256, T)`` in [0, 1].

    Returns:
        Complex tensor ``(..., 257, T)``.
    """
    return spectrum * gain(predicted_image, image(spectrum))
