"""The twin of v5's network in torch.nn, assembled by the same function, with the same keys, and the
twin of its loss."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor

from audio_denoising.models.causal import SIZES, assemble, build


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
        y = torch.nn.functional.batch_norm(
            x.flatten(0, -2),
            cast(Tensor, self.running_mean),
            cast(Tensor, self.running_var),
            self.weight,
            self.bias,
            self.training,
        )
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


class Residual(torch.nn.Module):
    """x + inner(x)."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that `inner` keeps."""
        return cast(Tensor, x + self.inner(x))


class UNetLevel(torch.nn.Module):
    """`decode(concat(skip, inner(skip)))` with `skip = encode(x)`."""

    def __init__(
        self, encode: torch.nn.Module, inner: torch.nn.Module, decode: torch.nn.Module, axis: int
    ) -> None:
        super().__init__()
        self.encode = encode
        self.inner = inner
        self.decode = decode
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, F, C) -> (T, N, F, C')."""
        skip = self.encode(x)
        return cast(Tensor, self.decode(torch.cat((skip, self.inner(skip)), self.axis)))


class RadialTanh(torch.nn.Module):
    """m tanh(r) / r on pairs along the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., 2 n) -> the same shape."""
        m = x.unflatten(-1, (-1, 2))
        r = m.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()
        return (m * (torch.tanh(r) / r)).flatten(-2)


LAYERS = SimpleNamespace(
    BandMatrix=BandMatrix,
    BatchNorm=BatchNorm,
    BatchNormSiLU=BatchNormSiLU,
    ChannelBandMatrix=ChannelBandMatrix,
    FrequencyConv=FrequencyConv,
    GRU=GRU,
    Linear=torch.nn.Linear,
    RadialTanh=RadialTanh,
    Residual=Residual,
    Sequential=torch.nn.Sequential,
    SiLU=torch.nn.SiLU,
    UNetLevel=UNetLevel,
)


def build_twin(size: str = "base") -> torch.nn.Module:
    """The torch.nn network with the keys, shapes and first weights of `causal.build`.

    Raises:
        KeyError: unknown size.
    """
    first_weights = build(size).state_dict()
    twin = cast(torch.nn.Module, assemble(LAYERS, SIZES[size]))
    twin.load_state_dict(first_weights)
    return twin


def spectrum_loss(mask: Tensor, noisy: Tensor, clean: Tensor) -> Tensor:
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
    spectral = 100 * (apart * weights[:, None, None]).mean()

    spectrum = torch.nn.functional.pad(estimate * estimate.abs() ** (7 / 3), (0, 0, 0, 1))
    error = torch.istft(spectrum, 512, 256, window=window) - clean[:, 256:-256]
    energy = clean[:, 256:-256].square().sum(1)
    speech = energy > 1e-7 * error.shape[1]
    ratio = error.square().sum(1)[speech] / energy[speech] + 1e-3
    return spectral + torch.log10(ratio).sum() / len(clean)
