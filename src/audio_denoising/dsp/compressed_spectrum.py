"""What v5 hears and how it is judged: a spectrum whose moduli are raised to the power 0.3.

Ears hear ratios; a spectrum holds values a million times apart. The compressed spectrum

    Xc = X max(|X|, 1e-5)^-0.7

keeps every phase and brings the moduli close together. The network is shown (Re, Im, modulus) of
the lowest 256 bins of 31.25 Hz, four neighbouring bins a position, times 1.4 / m. With l_i, the
loudness (sum |X|^2)^0.15 of the frame i hops ago,

    m = sum a^i l_i / sum a^i        a = 1 - 16 ms / 1.5 s

is how loud it has been lately, so that a recording twice as loud is the same to the network; frames
of silence, below -100 dB, are in neither sum. (Means of powers or of roots would follow a knock and
leave the voice behind it too faint to be heard.) The network answers with a complex mask of modulus
1 at most for each bin. In training Sc^ = M Xc, and S^ = Sc^ |Sc^|^(7/3) is the cleaned spectrum;
what is heard is X M |M|^2, which takes a little less away (`frames.GAIN`).

Shapes: waveforms (N, (T + 1) hop); spectra (T, N, 256); features (T, N, 64, 12); masks
(T, N, 64, 8), the real and imaginary parts of four bins in turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from audio_denoising.dsp.constants import FEATURES, OUTPUTS, POSITIONS
from audio_denoising.dsp.frames import (
    BINS,
    DECOMPRESSION,
    FADING,
    FIRST,
    FLOOR,
    GAIN,
    LEVEL,
    POWER,
    SILENCE,
)
from audio_denoising.dsp.loudness import LoudnessLoss
from audio_denoising.dsp.stft import HalfOverlap


def compress(spectrum: Tensor) -> Tensor:
    """Complex spectra, any shape -> the same with moduli to the power 0.3."""
    return spectrum * spectrum.abs().clamp(min=FLOOR).pow(POWER - 1)


def decompress(compressed: Tensor) -> Tensor:
    """The inverse of `compress` (above its floor)."""
    return compressed * compressed.abs().pow(DECOMPRESSION)


def evening(spectrum: Tensor) -> Tensor:
    """Spectra (T, N, 256), from a signal's beginning -> 1.4 / m of each frame, (T, N, 1)."""
    loudness = spectrum.abs().square().sum(-1).pow(POWER / 2)
    heard = (loudness > SILENCE).to(loudness)
    steps = torch.arange(len(loudness), device=loudness.device)
    ago = steps[:, None] - steps
    weights = (FADING ** ago.clamp(min=0)).to(loudness) * (ago >= 0)
    lately = (weights @ (loudness * heard) + FIRST * SILENCE) / (weights @ heard + FIRST)
    return LEVEL / lately[..., None]


def features(compressed: Tensor) -> Tensor:
    """Compressed spectra (T, N, 256), evened -> what the network hears, (T, N, 64, 12)."""
    parts = torch.stack((compressed.real, compressed.imag, compressed.abs()), -1)
    return parts.view(*compressed.shape[:-1], POSITIONS, FEATURES)


def as_complex(mask: Tensor) -> Tensor:
    """The network's answer (T, N, 64, 8) -> complex masks (T, N, 256)."""
    return torch.view_as_complex(mask.reshape(*mask.shape[:-2], BINS, 2))


@dataclass(frozen=True)
class Heard:
    """Mixtures as the network hears them: `features` (T, N, 64, 12) of `compressed` (T, N, 256)."""

    features: Tensor
    compressed: Tensor


def hear(waveform: Tensor, transform: HalfOverlap) -> Heard:
    """Waveforms (N, (T + 1) 256) at 16 kHz -> what the network hears."""
    spectrum = transform.analyse(waveform)[..., :BINS]
    compressed = compress(spectrum)
    return Heard(features(compressed * evening(spectrum)), compressed)


def sound(mask: Tensor, heard: Heard, transform: HalfOverlap) -> Tensor:
    """The network's answer (T, N, 64, 8) -> waveforms (N, (T + 1) 256) at 16 kHz."""
    gain = as_complex(mask)
    gain = gain * gain.abs().pow(GAIN)
    return transform.synthesise(_with_nyquist(gain * decompress(heard.compressed)))


@dataclass
class _Kept:
    """What the gradient needs."""

    heard: Heard
    target: Tensor
    estimate: Tensor
    modulus: Tensor
    weights: Tensor
    error: Tensor
    scale: Tensor


class CompressedSpectrumLoss:
    """How far masked mixtures are from clean speech: as compressed spectra and as waveforms.

        L = 30/n sum w (0.7 (|Sc^| - |Sc|)^2 + 0.3 |Sc^ - Sc|^2)
            + 1/N sum log10((|s^ - s|^2 + 1e-3 |s|^2) / |s|^2)

    n complex bins, N clips. The first term is level-free by w = (-25 dB / active level of s)^0.6,
    within `WEIGHTS`, 1 for clips without speech; the second is SI-SDR's relative with a bound of
    30 dB, over all samples but the first and last block, and leaves out clips without speech.
    After Braun and Tashev, TSP 2021 (arXiv:2009.12286), and GTCRN (ICASSP 2024). If `perceptual` is
    above 0, that many times `dsp.loudness.LoudnessLoss` is added.
    """

    MODULUS, COMPLEX, FACTOR = 0.7, 0.3, 30.0
    BOUND = 1e-3
    WEIGHTS = (0.1, 10.0)
    SILENCE = 1e-7  # mean square, -70 dBFS: below it a clip counts as without speech

    def __init__(self, transform: HalfOverlap, perceptual: float = 0.0) -> None:
        self.transform = transform
        self.perceptual = perceptual
        self.loudness = LoudnessLoss(transform.window.dtype, transform.window.device)
        self.kept: _Kept | None = None

    def forward(self, mask: Tensor, heard: Heard, clean: Tensor) -> Tensor:
        """The loss of an answer (T, N, 64, 8) to what was heard, against (N, (T + 1) 256).

        ValueError where their shapes do not belong together.
        """
        transform, hop = self.transform, self.transform.hop
        frames, clips, _ = heard.compressed.shape
        wanted = (frames, clips, POSITIONS, OUTPUTS), (clips, (frames + 1) * hop)
        if (mask.shape, clean.shape) != wanted:
            raise ValueError(
                f"CompressedSpectrumLoss takes a mask {wanted[0]} and a waveform {wanted[1]}, "
                f"and got {tuple(mask.shape)} and {tuple(clean.shape)}"
            )
        spectrum = transform.analyse(clean)[..., :BINS]
        target = compress(spectrum)
        estimate = as_complex(mask) * heard.compressed
        modulus = estimate.abs()
        weights = _level_weights(clean, hop, self.SILENCE, self.WEIGHTS)
        difference = torch.view_as_real(estimate - target).square().sum(-1)
        distance = self.MODULUS * (modulus - target.abs()).square() + self.COMPLEX * difference
        spectral = (distance * weights[:, None]).sum() * (self.FACTOR / modulus.numel())

        waveform = transform.synthesise(_with_nyquist(estimate * modulus.pow(DECOMPRESSION)))
        error = waveform - clean
        error[:, :hop] = 0
        error[:, -hop:] = 0
        energy = clean[:, hop:-hop].square().sum(1)
        heard_speech = energy > self.SILENCE * (clean.shape[1] - 2 * hop)
        bounded = error.square().sum(1) + self.BOUND * energy
        safe = torch.where(heard_speech, bounded, torch.ones_like(bounded))
        ratio = safe / torch.where(heard_speech, energy, torch.ones_like(energy))
        scale = heard_speech / safe * (2 / (len(clean) * math.log(10)))
        self.kept = _Kept(heard, target, estimate, modulus, weights, error, scale)
        loss = spectral + torch.log10(ratio).sum() / len(clean)
        if self.perceptual:
            power = modulus.pow(2 / POWER)
            loss = loss + self.perceptual * self.loudness(power, spectrum.abs().square())
        return loss

    def __call__(self, mask: Tensor, heard: Heard, clean: Tensor) -> Tensor:
        return self.forward(mask, heard, clean)

    # Spectral term: with A = |Sc^|, dA/dSc^ = Sc^ / A, so
    #   Gc = 60/n w (0.7 (1 - |Sc| / A) Sc^ + 0.3 (Sc^ - Sc)).
    # Waveform term: g = 2 / (N ln 10) e / (|e|^2 + 1e-3 |s|^2), G its adjoint synthesis;
    # S^ = A^p Sc^ with p = 7/3 gives Gc += A^p G + p A^(p - 2) Re(conj(Sc^) G) Sc^.
    # Loudness: |S^|^2 = A^q with q = 2 / 0.3, so a gradient g there gives Gc += q A^(q - 2) g Sc^.
    # Mask: Sc^ = M Xc, so G_M = Gc conj(Xc).

    def backward(self) -> Tensor:
        """dL/dmask (T, N, 64, 8) after the last forward."""
        assert self.kept is not None, "backward needs a forward pass"
        kept, self.kept = self.kept, None
        estimate, modulus, target = kept.estimate, kept.modulus, kept.target
        factor = (2 * self.FACTOR / modulus.numel()) * kept.weights[:, None]
        pull = 1 - target.abs() / modulus.clamp(min=1e-8)
        gradient = factor * (self.MODULUS * pull * estimate + self.COMPLEX * (estimate - target))
        at_waveform = kept.error * kept.scale[:, None]
        outer = self.transform.synthesise_adjoint(at_waveform)[..., :BINS]
        inner = (estimate.conj() * outer).real
        bend = DECOMPRESSION * modulus.pow(DECOMPRESSION - 2) * inner
        gradient = gradient + modulus.pow(DECOMPRESSION) * outer + bend * estimate
        if self.perceptual:
            chain = (2 / POWER) * modulus.pow(2 / POWER - 2)
            gradient = gradient + self.perceptual * chain * self.loudness.backward() * estimate
        at_mask = torch.view_as_real(gradient * kept.heard.compressed.conj())
        return at_mask.reshape(*at_mask.shape[:-2], POSITIONS, OUTPUTS)


def _level_weights(clean: Tensor, hop: int, silence: float, bounds: tuple[float, float]) -> Tensor:
    """(-25 dB / active level)^0.6 of each clip, (N,); blocks within 40 dB of the loudest count."""
    power = clean.reshape(len(clean), -1, hop).square().mean(-1)
    active = power > 1e-4 * power.amax(1, keepdim=True)
    level = (power * active).sum(1) / active.sum(1).clamp(min=1)
    weights = (10 ** (-25 / 10) / level.clamp(min=silence)).pow(POWER).clamp(*bounds)
    return torch.where(level > silence, weights, torch.ones_like(weights))


def _with_nyquist(spectrum: Tensor) -> Tensor:
    """(..., 256) -> (..., 257), the last bin zero."""
    return torch.cat((spectrum, torch.zeros_like(spectrum[..., :1])), -1)
