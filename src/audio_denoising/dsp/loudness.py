"""How much worse an estimate sounds than the clean speech: the core of PESQ, with its gradient.

PESQ (ITU-T P.862) compares loudness, not spectra. What of it matters here, after Martin-Donas et
al., "A Deep Learning Loss Function Based on the Perceptual Evaluation of the Speech Quality" (IEEE
SPL 2018), with the critical bands of Traunmueller (1990):

    power        R, D: of the clean speech and of the estimate in bands of half a Bark, both by the
                 gain that brings the clean clip to the level of listening
    frame gain   D' = G D, G = clamp(0.8 sum_k 0.2^k u_(t-k)), u = (sum R + c) / (sum D + c)
    loudness     l(x) = 0.187 (2 q)^z ((1/2 + x / (2 q))^z - 1), 0 below the threshold q of hearing
    disturbance  d = max(l(D') - 1.25 l(R), l(R) - 1.25 l(D'), 0): a quarter of it is masked
    frames       s = (W sum (w d)^2)^(1/2), w: widths of the bands, W: all of them
                 a = sum w d h, h = min(((D' + 50) / (R + 50))^1.2, 12): what is added hurts more
                 both by 45 tanh(x / 45): a frame cannot be worse than bad
    clip         6-norm over 20 frames each 10, 2-norm over these; 0.1 of s + 0.0309 of a

So the loss counts points on PESQ's scale from -0.5 to 4.5. Shapes: power spectra (T, N, 256) at
16 kHz as `HalfOverlap` makes them, squared; bands (T, N, 42).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from audio_denoising.dsp.frames import BINS

BIN_WIDTH = 31.25  # Hz
BAND_WIDTH = 0.5  # Bark
SILENCE = 1e-7  # mean square, -70 dBFS: a clip below it has no speech whose sound could be judged
LEVEL = 1e7  # mean square at the level of listening (P.862)
MEAN_SQUARE = 2 / (512**2 * 3 / 8)  # of a frame, from the power of all of its bins: 3/8 is Hann's
DENSITY = 6.910853e-6 * BIN_WIDTH  # P.862's scale of power in a band, for each Bark of its width

EXPONENT, SONE = 0.23, 0.1866055  # Zwicker's law
KEEPING, GAINS, GAIN_FLOOR = 0.2, (3e-4, 5.0), 5e3
MASKED = 1.25
ADDED, ADDED_FLOOR, ADDED_BOUND = 1.2, 50.0, 12.0
BOUND = 45.0
SYLLABLE, NEXT = 20, 10  # frames
POINTS = 0.1, 0.0309
TINY = 1e-5  # below it a norm counts as this in its gradient


def bark(hertz: Tensor) -> Tensor:
    """Frequencies -> critical band rates: a Bark is as wide as what the ear cannot tell apart."""
    return 26.81 * hertz / (1960 + hertz) - 0.53


def threshold(hertz: Tensor) -> Tensor:
    """The power that is just heard: constant, with a steep rise below 500 Hz (fit to P.862)."""
    return 0.35 + (441 / hertz) ** 5.8


@dataclass
class _Kept:
    """What the gradient needs."""

    scale: Tensor
    raw: Tensor
    ratio: Tensor
    smoothed: Tensor
    estimate: Tensor
    slope: Tensor
    weighted: Tensor
    factor: Tensor
    plain: Tensor
    frames: Tensor
    syllables: Tensor
    clips: Tensor


class LoudnessLoss:
    """Mean over clips of the points of PESQ's scale that an estimate loses; 0 without speech."""

    def __init__(
        self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> None:
        hertz = torch.arange(1, BINS, dtype=torch.float64) * BIN_WIDTH  # the ear hears no DC
        band = (bark(hertz) / BAND_WIDTH).clamp(min=0).long()
        members = (band[:, None] == torch.arange(int(band[-1]) + 1)).double()
        width = bark(hertz + BIN_WIDTH / 2) - bark(hertz - BIN_WIDTH / 2)
        widths = width @ members
        bands = torch.cat((torch.zeros_like(members[:1]), members)) * (DENSITY / widths)
        centres = hertz @ members / members.sum(0)
        self.widths, self.bands, self.threshold = (
            each.to(device=device, dtype=dtype) for each in (widths, bands, threshold(centres))
        )
        self.kept: _Kept | None = None

    def forward(self, power: Tensor, clean: Tensor) -> Tensor:
        """The loss of an estimate's power spectra (T, N, 256) against those of the clean speech."""
        level = clean.sum(-1).mean(0) * MEAN_SQUARE
        scale = ((level > SILENCE) * LEVEL / level.clamp(min=SILENCE))[:, None]
        reference, raw = clean @ self.bands * scale, power @ self.bands * scale

        ratio = (reference.sum(-1) + GAIN_FLOOR) / (raw.sum(-1) + GAIN_FLOOR)
        smoothed = _smoothing(ratio) @ torch.cat((torch.ones_like(ratio[:1]), ratio))
        estimate = raw * smoothed.clamp(*GAINS)[..., None]

        wanted, heard = self._loudness(reference), self._loudness(estimate)
        added, lost = heard - MASKED * wanted, wanted - MASKED * heard
        weighted = torch.maximum(added, lost).clamp(min=0) * self.widths
        slope = (added > 0).to(power.dtype) - MASKED * (lost > 0)

        factor = ((estimate + ADDED_FLOOR) / (reference + ADDED_FLOOR)).pow(ADDED)
        factor = factor.clamp(max=ADDED_BOUND)
        plain = (self.widths.sum() * weighted.square().sum(-1)).sqrt()
        frames = torch.stack((plain, (weighted * factor).sum(-1)))
        frames = BOUND * torch.tanh(frames / BOUND)
        syllables = (_syllables(plain) @ frames**6) ** (1 / 6)
        clips = syllables.square().mean(1).sqrt()
        self.kept = _Kept(
            scale, raw, ratio, smoothed, estimate, slope, weighted, factor, plain, frames,
            syllables, clips,
        )  # fmt: skip
        return (POINTS[0] * clips[0] + POINTS[1] * clips[1]).mean()

    def __call__(self, power: Tensor, clean: Tensor) -> Tensor:
        return self.forward(power, clean)

    # From the end: a norm v = (sum x^p)^(1/p) has dv/dx = (x / v)^(p - 1); tanh has 1 - tanh^2;
    # d has 1 where something was added, -1.25 where something is lost; the gain is a product, so
    # dD = G dD' and dG = sum D dD'; from u = (sum R + c) / (sum D + c), dD -= u du / (sum D + c).

    def backward(self) -> Tensor:
        """dL/dpower (T, N, 256) after the last forward."""
        assert self.kept is not None, "backward needs a forward pass"
        kept, self.kept = self.kept, None
        count, clips = kept.syllables.shape[1:]
        points = kept.clips.new_tensor(POINTS)[:, None, None] / (clips * count)
        at_syllables = points * kept.syllables / kept.clips.clamp(min=TINY)[:, None]
        shares = at_syllables / kept.syllables.clamp(min=TINY) ** 5
        at_frames = (_syllables(kept.plain).T @ shares) * kept.frames**5
        at_plain, at_added = (at_frames * (1 - (kept.frames / BOUND).square()))[..., None]

        norm = self.widths.sum() * kept.weighted / kept.plain.clamp(min=TINY)[..., None]
        at_loudness = (at_plain * norm + at_added * kept.factor) * self.widths * kept.slope
        bounded = kept.factor < ADDED_BOUND
        rise = ADDED * kept.factor / (kept.estimate + ADDED_FLOOR) * bounded
        at_estimate = at_loudness * self._loudness_slope(kept.estimate)
        at_estimate = at_estimate + at_added * kept.weighted * rise

        low, high = GAINS
        free = (kept.smoothed > low) & (kept.smoothed < high)
        at_gain = (at_estimate * kept.raw).sum(-1) * free
        at_ratio = (_smoothing(kept.ratio).T @ at_gain)[1:]
        at_sum = at_ratio * kept.ratio / (kept.raw.sum(-1) + GAIN_FLOOR)
        at_raw = at_estimate * kept.smoothed.clamp(*GAINS)[..., None] - at_sum[..., None]
        return (at_raw * kept.scale) @ self.bands.T

    def _loudness(self, power: Tensor) -> Tensor:
        """Zwicker's law: bands -> sone in each Bark."""
        rise = (0.5 + 0.5 * power / self.threshold).clamp(min=1) ** EXPONENT - 1
        return SONE * (2 * self.threshold) ** EXPONENT * rise

    def _loudness_slope(self, power: Tensor) -> Tensor:
        inner = 0.5 + 0.5 * power / self.threshold
        factor = SONE * (2 * self.threshold) ** EXPONENT * EXPONENT * 0.5 / self.threshold
        return (inner > 1) * factor * inner.clamp(min=1) ** (EXPONENT - 1)


def _smoothing(ratios: Tensor) -> Tensor:
    """The matrix (T, 1 + T) by which frames follow 1 and the ratios so far, KEEPING of the past."""
    frames = torch.arange(len(ratios), device=ratios.device)
    apart = frames[:, None] - frames
    past = torch.tril((1 - KEEPING) * KEEPING ** apart.clamp(min=0).to(ratios.dtype))
    start = KEEPING ** (frames + 1).to(ratios.dtype)
    return torch.cat((start[:, None], past), 1)


def _syllables(frames: Tensor) -> Tensor:
    """The matrix (K, T) that takes means over 20 frames each 10 (over all, if there are fewer)."""
    size = min(SYLLABLE, len(frames))
    starts = torch.arange(0, len(frames) - size + 1, NEXT, device=frames.device)
    apart = torch.arange(len(frames), device=frames.device) - starts[:, None]
    return ((apart >= 0) & (apart < size)).to(frames.dtype) / size
