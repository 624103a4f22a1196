"""The twin: the same U-Net in torch.nn, the baseline for the from-scratch engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from audio_denoising.models.unet import WIDTHS, assemble
from audio_denoising.models.versions import VERSIONS, build


class UNetLevel(torch.nn.Module):
    """`decode(concat(skip, inner(skip)))` with `skip = encode(x)`, as in our engine."""

    def __init__(
        self, encode: torch.nn.Module, inner: torch.nn.Module, decode: torch.nn.Module
    ) -> None:
        super().__init__()
        self.encode = encode
        self.inner = inner
        self.decode = decode
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> (N, C', F', T')."""
        skip = self._run(self.encode, x)
        return self._run(self.decode, torch.cat((skip, self.inner(skip)), dim=1))

    def _run(self, block: torch.nn.Module, x: Tensor) -> Tensor:
        if self.recompute and self.training:
            return cast(Tensor, checkpoint(block, x, use_reentrant=False))
        return cast(Tensor, block(x))


class Mask(torch.nn.Module):
    """`x * inner(x)`, as in our engine."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> the same shape."""
        return cast(Tensor, x * self.inner(x))


def _activation_in_place(slope: float = 0.0) -> torch.nn.Module:
    """The fastest form of the library's activation: what a user who cares for speed would write."""
    return torch.nn.LeakyReLU(slope, inplace=True) if slope else torch.nn.ReLU(inplace=True)


LAYERS = SimpleNamespace(
    Conv2d=torch.nn.Conv2d,
    ConvTranspose2d=torch.nn.ConvTranspose2d,
    MaxPool2d=torch.nn.MaxPool2d,
    ReLU=_activation_in_place,
    LeakyReLU=_activation_in_place,
    Sigmoid=torch.nn.Sigmoid,
    Sequential=torch.nn.Sequential,
    UNetLevel=UNetLevel,
    Mask=Mask,
)


def build_twin(version: str = "torch", size: str | None = None) -> torch.nn.Module:
    """The torch.nn U-Net of a version, with the keys, shapes and initialisation of `build`.

    Raises:
        KeyError: unknown version or size, or a version that is no U-Net.
    """
    row = VERSIONS[version]
    if row.plan is None:
        raise KeyError(f"{version} is no U-Net")
    first_weights = build(version, size).state_dict()  # before torch.nn draws its own
    twin = cast(torch.nn.Module, assemble(LAYERS, row.plan, WIDTHS[size or row.size]))
    twin.load_state_dict(first_weights)
    return twin


def recompute_levels(twin: torch.nn.Module) -> None:
    """Makes every encoder and decoder keep its input alone, as `nn.recompute_levels` does."""
    for level in twin.modules():
        if isinstance(level, UNetLevel):
            level.recompute = True
