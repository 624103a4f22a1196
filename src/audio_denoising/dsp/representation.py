"""What a network hears, how its answer becomes sound, and how far that is from the clean speech.

One concept with two forms: the decibel image of v2 to v4, a picture of 2.55 s that is answered by a
picture (`spectrum.DecibelImage`), and the compressed spectrum of v5, frames of 16 ms that are
answered by complex masks. Waveforms are (N, L) at 16 kHz.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from audio_denoising.dsp import compressed_spectrum as compressed
from audio_denoising.dsp import spectrum
from audio_denoising.dsp.compressed_spectrum import CompressedSpectrumLoss, Heard
from audio_denoising.dsp.measures import mean_psnr
from audio_denoising.dsp.stft import HalfOverlap


class Representation(Protocol):
    """What learners, the training loop and validation need of either form.

    A loss is a scalar tensor; `gradient` is that of the last one at the prediction, by hand.
    """

    margin: int  # samples at both ends of a clip whose sound is not that of a longer recording

    def hear(self, noisy: Tensor) -> Any:
        """What is kept of noisy waveforms."""

    def features(self, heard: Any) -> Tensor:
        """The network's input."""

    def target(self, clean: Tensor) -> Tensor:
        """What a prediction is compared with."""

    def loss(self, prediction: Tensor, heard: Any, target: Tensor) -> Tensor:
        """How far a prediction is from the target."""

    def gradient(self) -> Tensor:
        """Of the last loss, at its prediction."""

    def sound(self, prediction: Tensor, noisy: Tensor) -> Tensor:
        """The cleaned waveforms (N, L)."""

    def psnr(self, prediction: Tensor, heard: Any, target: Tensor) -> Tensor:
        """PSNR in dB of the cleaned sound's decibel image, which compares with any version's."""


class CompressedSpectrum:
    """Features (T, N, 64, 12) and masks (T, N, 64, 8); see `dsp.compressed_spectrum`.

    Waveforms are whole blocks, L = (T + 1) 256; the first and last one are heard in one frame
    instead of two.
    """

    def __init__(self, device: torch.device | str = "cpu", perceptual: float = 0.0) -> None:
        self.transform = HalfOverlap(device=device)
        self.margin = self.transform.hop
        self.criterion = CompressedSpectrumLoss(self.transform, perceptual)

    def hear(self, noisy: Tensor) -> Heard:
        return compressed.hear(noisy, self.transform)

    def features(self, heard: Heard) -> Tensor:
        return heard.features

    def target(self, clean: Tensor) -> Tensor:
        return clean

    def loss(self, prediction: Tensor, heard: Heard, target: Tensor) -> Tensor:
        return self.criterion(prediction, heard, target)

    def gradient(self) -> Tensor:
        return self.criterion.backward()

    def sound(self, prediction: Tensor, noisy: Tensor) -> Tensor:
        return compressed.sound(prediction, self.hear(noisy), self.transform)

    def psnr(self, prediction: Tensor, heard: Heard, target: Tensor) -> Tensor:
        both = compressed.sound(prediction, heard, self.transform), target
        inside = slice(self.margin, -self.margin)
        return mean_psnr(*(spectrum.image(spectrum.stft(waves[:, inside])) for waves in both))
