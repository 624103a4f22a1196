"""The picture the network sees, and the way back: waveform <-> STFT <-> decibel image.

Letters: ``L`` samples, ``F`` = 256 frequency bins, ``T`` frames; ``...`` is any number of leading
batch or channel dimensions. Everything is a batched torch operation on any device, in float32 or
float64, and the same functions serve training and cleaning.

Levels are decibels relative to digital full scale, from the floor of -80 dB to 0 dB.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from audio_denoising.dsp.constants import BINS as BINS
from audio_denoising.dsp.constants import FFT_SIZE as FFT_SIZE
from audio_denoising.dsp.constants import FLOOR_DB as FLOOR_DB
from audio_denoising.dsp.constants import FRAMES as FRAMES
from audio_denoising.dsp.constants import HOP as HOP
from audio_denoising.dsp.constants import SAMPLE_RATE as SAMPLE_RATE
from audio_denoising.dsp.constants import SEGMENT as SEGMENT
from audio_denoising.dsp.measures import mean_psnr


@lru_cache(maxsize=16)
def _window(dtype: torch.dtype, device: torch.device) -> Tensor:
    # Built outside inference mode: a cached inference tensor could not be used by autograd later.
    with torch.inference_mode(False):
        return torch.hann_window(FFT_SIZE, dtype=dtype, device=device)


def stft(waveform: Tensor) -> Tensor:
    """Waveforms ``(..., L)`` -> short-time Fourier transform ``(..., 257, L // 160 + 1)``.

    Centred frames of 512 samples, periodic Hann window, hop 160. The ends are mirrored; a signal
    too short to be mirrored (256 samples or fewer) is continued with zeros instead.
    """
    length = waveform.shape[-1]
    flat = waveform.reshape(-1, length)
    mode = "reflect" if length > FFT_SIZE // 2 else "constant"
    window = _window(waveform.dtype, waveform.device)
    spectrum = torch.stft(
        flat, FFT_SIZE, hop_length=HOP, window=window, pad_mode=mode, return_complex=True
    )
    return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[-2:])


def istft(spectrum: Tensor, length: int) -> Tensor:
    """Spectra ``(..., 257, T)`` of `stft` -> waveforms ``(..., length)``, no longer than they were.

    By weighted overlap-add (Griffin and Lim, 1984).
    """
    window = _window(spectrum.real.dtype, spectrum.device)
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])
    waveform = torch.istft(flat, FFT_SIZE, hop_length=HOP, window=window, length=length)
    return waveform.reshape(*spectrum.shape[:-2], length)


def level_db(spectrum: Tensor) -> Tensor:
    """Spectra ``(..., 257, T)`` -> level of each bin in dB, ``(..., 256, T)`` in [-80, 0].

    The magnitude is scaled by ``2 / sum(window)``, so that a full-scale sine peaks at 0 dB
    whatever the window. The Nyquist bin is dropped.
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
    """Spectra ``(..., 257, T)`` -> decibel images ``(..., 256, T)``: 0 is -80 dB, 1 full scale."""
    return level_db(spectrum).sub_(FLOOR_DB).div_(-FLOOR_DB).clamp_(0.0, 1.0)


def gain(predicted_image: Tensor, noisy_image: Tensor) -> Tensor:
    """Linear gain ``(..., 257, T)`` from the noisy image to the predicted one; never above 1.

    Images ``(..., 256, T)``, of which one unit is 80 dB. The Nyquist bin, which they do not show,
    takes the gain of its neighbour.
    """
    decibels = (predicted_image - noisy_image).clamp(max=0.0) * -FLOOR_DB
    linear = torch.pow(10.0, decibels / 20.0)
    return torch.cat((linear, linear[..., -1:, :]), dim=-2)


def apply_image(spectrum: Tensor, predicted_image: Tensor) -> Tensor:
    """A noisy spectrum ``(..., 257, T)``, its phase kept, with an image's levels ``(..., 256, T)``.

    An unmodified image gives the spectrum back unchanged.
    """
    return spectrum * gain(predicted_image, image(spectrum))


class DecibelImage:
    """Images (N, 1, 256, T) in [0, 1], judged by a loss of `nn` or torch.nn; a `Representation`."""

    margin = 0

    def __init__(self, criterion: Any) -> None:
        self.criterion = criterion

    def hear(self, noisy: Tensor) -> Tensor:
        """The noisy image, which is all that is kept."""
        return image(stft(noisy)).unsqueeze(1)

    def features(self, heard: Tensor) -> Tensor:
        return heard

    def target(self, clean: Tensor) -> Tensor:
        return self.hear(clean)

    def loss(self, prediction: Tensor, heard: Tensor, target: Tensor) -> Tensor:
        value: Tensor = self.criterion(prediction, target)
        return value

    def gradient(self) -> Tensor:
        found: Tensor = self.criterion.backward()
        return found

    def sound(self, prediction: Tensor, noisy: Tensor) -> Tensor:
        """The predicted levels with the noisy phase."""
        spectra = stft(noisy)
        return istft(apply_image(spectra, prediction[:, 0]), noisy.shape[-1])

    def psnr(self, prediction: Tensor, heard: Tensor, target: Tensor) -> Tensor:
        return mean_psnr(prediction, target)
