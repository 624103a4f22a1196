"""The twin: the same networks and losses in torch.nn, the baseline for the from-scratch engine.

A network of the twin is assembled by the same function as ours, from `LAYERS` in place of `nn`, and
has the same keys and shapes.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from audio_denoising.dsp.loudness import LoudnessLoss
from audio_denoising.models.networks import assemble, build


class UNetLevel(torch.nn.Module):
    """`decode(concat(skip, inner(skip)))` with `skip = encode(x)`, as in our engine."""

    def __init__(self, encode: Any, inner: Any, decode: Any, axis: int = 1) -> None:
        super().__init__()
        self.encode, self.inner, self.decode = encode, inner, decode
        self.axis, self.recompute = axis, False

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> (N, C', F', T'), or with the channels last throughout."""
        skip = self._run(self.encode, x)
        return self._run(self.decode, torch.cat((skip, self.inner(skip)), dim=self.axis))

    def _run(self, block: torch.nn.Module, x: Tensor) -> Tensor:
        if self.recompute and self.training:
            return cast(Tensor, checkpoint(block, x, use_reentrant=False))
        return cast(Tensor, block(x))


class Residual(torch.nn.Module):
    """x + inner(x)."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that `inner` keeps."""
        return cast(Tensor, x + self.inner(x))


class Mask(torch.nn.Module):
    """x * inner(x)."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> the same shape."""
        return cast(Tensor, x * self.inner(x))


class FrequencyConv(torch.nn.Conv1d):
    """torch.nn.Conv1d over F on (..., F, C)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., F, C) -> (..., F, C')."""
        rows = x.flatten(0, -3).transpose(1, 2)
        return super().forward(rows).transpose(1, 2).unflatten(0, x.shape[:-2])


class BatchNorm(torch.nn.Module):
    """torch's batch normalisation over the last axis (torch.nn.BatchNorm1d counts batches too)."""

    def __init__(self, channels: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(channels))
        self.bias = torch.nn.Parameter(torch.zeros(channels)) if bias else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        moments = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        learned = self.weight, self.bias
        y = torch.nn.functional.batch_norm(x.flatten(0, -2), *moments, *learned, self.training)
        return y.view(x.shape)


class BatchNormSiLU(BatchNorm):
    """Batch normalisation, then SiLU."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        return torch.nn.functional.silu(super().forward(x), inplace=True)


class GRU(torch.nn.GRU):
    """torch.nn.GRU over (T, ..., C), its state left behind."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(T, ..., C) -> (T, ..., H)."""
        y, _ = super().forward(x.flatten(1, -2))
        return y.view(*x.shape[:-1], -1)


class BandMatrix(torch.nn.Module):
    """A matrix over F."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        """(..., F, C) -> (..., F', C)."""
        return torch.matmul(self.weight, x)


class ChannelBandMatrix(torch.nn.Module):
    """A matrix over F for every channel."""

    def __init__(self, channels: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(channels, outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        """(..., F, C) -> (..., F', C)."""
        rows = x.flatten(0, -3).permute(2, 0, 1)
        y = torch.bmm(rows, self.weight.transpose(1, 2)).permute(1, 2, 0)
        return y.contiguous().unflatten(0, x.shape[:-2])


class RadialTanh(torch.nn.Module):
    """m tanh(r) / r on pairs along the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., 2 n) -> the same shape."""
        m = x.unflatten(-1, (-1, 2))
        r = m.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()
        return (m * (torch.tanh(r) / r)).flatten(-2)


def _activation_in_place(slope: float = 0.0) -> torch.nn.Module:
    """The fastest form of the library's activation: what a user who cares for speed would write."""
    return torch.nn.LeakyReLU(slope, inplace=True) if slope else torch.nn.ReLU(inplace=True)


LAYERS = SimpleNamespace(
    BandMatrix=BandMatrix, BatchNorm=BatchNorm, BatchNormSiLU=BatchNormSiLU,
    ChannelBandMatrix=ChannelBandMatrix, Conv2d=torch.nn.Conv2d,
    ConvTranspose2d=torch.nn.ConvTranspose2d, FrequencyConv=FrequencyConv, GRU=GRU,
    LeakyReLU=_activation_in_place, Linear=torch.nn.Linear, Mask=Mask,
    MaxPool2d=torch.nn.MaxPool2d, RadialTanh=RadialTanh, ReLU=_activation_in_place,
    Residual=Residual, Sequential=torch.nn.Sequential, SiLU=torch.nn.SiLU,
    Sigmoid=torch.nn.Sigmoid, UNetLevel=UNetLevel,
)  # fmt: skip


def build_twin(version: str = "torch", size: str | None = None) -> Any:
    """The torch.nn network of a version, with the keys, shapes and first weights of `build`."""
    first_weights = build(version, size).state_dict()  # before torch.nn draws its own
    twin: torch.nn.Module = assemble(LAYERS, version, size)
    twin.load_state_dict(first_weights)
    return twin


def recompute_levels(twin: torch.nn.Module) -> None:
    """Makes every encoder and decoder keep its input alone, as `nn.recompute_levels` does."""
    for level in twin.modules():
        if isinstance(level, UNetLevel):
            level.recompute = True


def spectrum_loss(mask: Tensor, noisy: Tensor, clean: Tensor, perceptual: float = 0.0) -> Tensor:
    """`dsp.compressed_spectrum.CompressedSpectrumLoss` at 16 kHz, for autograd.

    Args:
        mask: (T, N, 64, 8). noisy, clean: waveforms (N, (T + 1) 256), two frames or more.
    """
    window = torch.hann_window(512, dtype=clean.dtype, device=clean.device)

    def compressed(waves: Tensor) -> Tensor:
        """(N, 256, T)."""
        x = torch.stft(waves, 512, 256, window=window, center=False, return_complex=True)[:, :256]
        return x * x.abs().clamp(min=1e-5) ** -0.7

    target = compressed(clean)
    answer = torch.view_as_complex(mask.flatten(-2).unflatten(-1, (256, 2))).permute(1, 2, 0)
    estimate = answer * compressed(noisy)
    power = torch.nn.functional.avg_pool1d(clean.square()[:, None], 256)[:, 0]
    active = power > 1e-4 * power.amax(1, keepdim=True)
    level = (power * active).sum(1) / active.sum(1).clamp(min=1)
    weights = (10**-2.5 / level.clamp(min=1e-7)).pow(0.3).clamp(0.1, 10)
    weights = torch.where(level > 1e-7, weights, 1.0)
    apart = 0.7 * (estimate.abs() - target.abs()) ** 2 + 0.3 * (estimate - target).abs() ** 2
    spectral = 30 * (apart * weights[:, None, None]).mean()

    spectrum = torch.nn.functional.pad(estimate * estimate.abs() ** (7 / 3), (0, 0, 0, 1))
    error = torch.istft(spectrum, 512, 256, window=window) - clean[:, 256:-256]
    energy = clean[:, 256:-256].square().sum(1)
    speech = energy > 1e-7 * error.shape[1]
    ratio = error.square().sum(1)[speech] / energy[speech] + 1e-3
    loss = spectral + torch.log10(ratio).sum() / len(clean)
    if not perceptual:
        return loss
    powers = (each.permute(2, 0, 1).abs() ** (20 / 3) for each in (estimate, target))
    return loss + perceptual * loudness_loss(*powers)


def loudness_loss(power: Tensor, clean: Tensor) -> Tensor:
    """`dsp.loudness.LoudnessLoss` of power spectra (T, N, 256), for autograd."""
    of = LoudnessLoss(power.dtype, power.device)
    total = clean.sum(-1).mean(0)
    gain = torch.where(total > 0.0049152, 1e7 * 49152 / total, 0.0)[:, None]
    reference, raw = gain * (clean @ of.bands), gain * (power @ of.bands)
    gains = [torch.ones_like(total)]
    for ratio in (reference.sum(-1) + 5e3) / (raw.sum(-1) + 5e3):
        gains.append(0.2 * gains[-1] + 0.8 * ratio)
    estimate = raw * torch.stack(gains[1:]).clamp(3e-4, 5)[..., None]

    def loudness(x: Tensor) -> Tensor:
        sone = (0.5 + x / (2 * of.threshold)) ** 0.23 - 1
        return torch.where(x > of.threshold, 0.1866055 * (2 * of.threshold) ** 0.23 * sone, 0.0)

    heard, wanted = loudness(estimate), loudness(reference)
    apart = (heard - wanted).abs() - 0.25 * torch.minimum(heard, wanted)
    apart = of.widths * apart.clamp(min=0)
    factor = (((estimate + 50) / (reference + 50)) ** 1.2).clamp(max=12)
    plain = of.widths.sum().sqrt() * torch.linalg.vector_norm(apart, dim=-1)
    frames = 45 * torch.tanh(torch.stack((plain, (apart * factor).sum(-1)), -1) / 45)
    starts = range(0, max(1, len(frames) - 19), 10)
    syllables = torch.stack([(frames[at : at + 20] ** 6).mean(0) ** (1 / 6) for at in starts])
    clips = syllables.square().mean(0).sqrt()
    return (0.1 * clips[:, 0] + 0.0309 * clips[:, 1]).mean()
