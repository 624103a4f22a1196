"""The gradient ladder on the user's own machine: every layer and network against two judges.

The first judge is torch.nn with autograd, computing the same function from the same numbers; the
second is the definition of a derivative, a finite difference, which needs no other library. Both
judge in float64, where a right formula agrees to about 1e-15 (1e-8 for finite differences) and a
wrong one does not agree at all. The times are those of float32, forward and backward together.

A finite difference across a kink (of ReLU, or where two pixels compete in a max-pool) compares with
a derivative that does not exist; the fixed seed is one whose numbers stay clear of kinks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.dsp.compressed_spectrum import CompressedSpectrumLoss, hear
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.models import build
from audio_denoising.models.twin import LAYERS, build_twin, spectrum_loss

FORMULA_LIMIT = 1e-9  # relative error against autograd; rounding leaves 1e-14
DIFFERENCE_LIMIT = 1e-4  # against finite differences; rounding leaves 1e-8, 1e-5 where a deep
# layer of a network moves the result so little that its last digits are all there is to see
ROUNDS = 5  # timed passes of each side, taken in turn

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Subject:
    """A layer or network that both libraries can build.

    The sides are compared and timed on an input of ``shape``: (N, C, F, T) of images, (T, N, F, C)
    of recurrent features. The finite differences, two passes for every derivative, are taken on a
    ``small`` one, so many ``entries`` of every tensor.
    """

    name: str
    ours: Callable[[], nn.Module]
    theirs: Callable[[], torch.nn.Module]
    shape: Shape
    small: Shape
    entries: int = 8


@dataclass(frozen=True)
class Verdict:
    """What was found out about a subject; errors are relative, in the L2 norm, the largest of all
    tensors. Gradients are those at the input and at all parameters."""

    name: str
    forward: float  # of the output, against torch.nn
    gradient: float  # against autograd
    difference: float  # against central finite differences
    seconds: float  # forward and backward in float32, median
    twin_seconds: float  # likewise, of torch.nn

    @property
    def passed(self) -> bool:
        """Whether every error is within its limit (a NaN is not)."""
        exact = self.forward <= FORMULA_LIMIT and self.gradient <= FORMULA_LIMIT
        return exact and self.difference <= DIFFERENCE_LIMIT


def subjects() -> list[Subject]:
    """Every layer of the engine at a shape of the networks, then the networks."""

    def layer(name: str, make: Callable[[Any], Any], shape: Shape, small: Shape) -> Subject:
        return Subject(name, lambda: make(nn), lambda: make(LAYERS), shape, small)

    def image(name: str, make: Callable[[Any], Any], channels: int, size: int) -> Subject:
        return layer(name, make, (2, channels, size, size), (1, channels, 6, 6))

    def rows(name: str, make: Callable[[Any], Any], bands: int, channels: int) -> Subject:
        return layer(name, make, (20, 2, bands, channels), (4, 2, bands, channels))

    def network(version: str, name: str, shape: Shape, small: Shape) -> Subject:
        makes = (lambda: build(version, "small"), lambda: build_twin(version, "small"))
        # One entry of each of some fifty tensors, every one of which takes two passes of it all.
        return Subject(name, *makes, shape, small, entries=1)

    def loss(name: str, perceptual: float) -> Subject:
        makes = partial(_Loss, perceptual), partial(_TwinLoss, perceptual)
        return Subject(name, *makes, (20, 2, 64, 8), (3, 2, 64, 8), entries=24)

    def transposed(*shape: int) -> Callable[[Any], Any]:
        return lambda of: of.ConvTranspose2d(64, 32, *shape)

    def level(of: Any) -> Any:
        inner = (of.Conv2d(8, 16, 3, 2, 1), of.ReLU(), of.ConvTranspose2d(16, 8, 2, 2))
        outer = of.Conv2d(8, 8, 3, 1, 1), of.Sequential(*inner), of.Conv2d(16, 8, 1)
        return of.UNetLevel(*outer)

    def recurrence(of: Any) -> Any:
        inner = (of.GRU(36, 36), of.Linear(36, 36, False), of.BatchNorm(36))
        return of.Residual(of.Sequential(*inner))

    return [
        image("Conv2d 3x3, 1 to 16 channels", lambda of: of.Conv2d(1, 16, 3, 1, 1), 1, 128),
        image("Conv2d 3x3, 16 channels", lambda of: of.Conv2d(16, 16, 3, 1, 1), 16, 128),
        image("Conv2d 3x3, 128 channels", lambda of: of.Conv2d(128, 128, 3, 1, 1), 128, 32),
        image("Conv2d 3x3, stride 2", lambda of: of.Conv2d(32, 32, 3, 2, 1), 32, 64),
        image("Conv2d 1x1, 16 to 1 channel", lambda of: of.Conv2d(16, 1, 1), 16, 128),
        image("ConvTranspose2d 2x2, stride 2", transposed(2, 2), 64, 32),
        image("ConvTranspose2d 3x3, stride 2", transposed(3, 2, 1, 1), 64, 32),
        image("MaxPool2d 2x2", lambda of: of.MaxPool2d(2), 16, 128),
        image("ReLU", lambda of: of.ReLU(), 16, 128),
        image("LeakyReLU", lambda of: of.LeakyReLU(0.2), 16, 128),
        image("Sigmoid", lambda of: of.Sigmoid(), 16, 128),
        image("UNetLevel (skip connection)", level, 8, 64),
        image("Mask", lambda of: of.Mask(of.Sequential(of.Conv2d(8, 8, 1), of.Sigmoid())), 8, 64),
        network("v2", "v2-small and v3-small, whole", (1, 1, 128, 128), (1, 1, 64, 32)),
        network("v4", "v4-small, whole", (1, 1, 128, 128), (1, 1, 64, 32)),
        rows("Linear, 96 to 48 channels", lambda of: of.Linear(96, 48), 64, 96),
        rows("BandMatrix, 64 to 24 bands", lambda of: of.BandMatrix(64, 24), 64, 48),
        rows("ChannelBandMatrix, 24 bands", lambda of: of.ChannelBandMatrix(36, 24, 24), 24, 36),
        rows("FrequencyConv 3", lambda of: of.FrequencyConv(48, 48, 3, True), 64, 48),
        rows("BatchNorm", lambda of: of.BatchNorm(48), 64, 48),
        rows("BatchNormSiLU", lambda of: of.BatchNormSiLU(48), 64, 48),
        rows("GRU", lambda of: of.GRU(36, 36), 24, 36),
        rows("SiLU", lambda of: of.SiLU(), 24, 36),
        rows("RadialTanh", lambda of: of.RadialTanh(), 64, 8),
        rows("Residual (recurrence)", recurrence, 24, 36),
        loss("Loss on compressed spectra", 0.0),
        loss("Loss on compressed spectra and loudness", 1.0),
        network("v5", "v5-small, whole", (20, 2, 64, 12), (3, 2, 64, 12)),
    ]


class _Loss(nn.Module):
    """v5's loss as a layer, from masks (T, N, 64, 8) to one number (1,)."""

    def __init__(self, perceptual: float) -> None:
        super().__init__()
        self.perceptual = perceptual

    def forward(self, x: Tensor) -> Tensor:
        noisy, clean = _mixture(x)
        transform = HalfOverlap(dtype=x.dtype)
        self.criterion = CompressedSpectrumLoss(transform, self.perceptual)
        return self.criterion(x, hear(noisy, transform), clean).view(1)

    def backward(self, grad_output: Tensor) -> Tensor:
        return self.criterion.backward() * grad_output


class _TwinLoss(torch.nn.Module):
    """The same in torch."""

    def __init__(self, perceptual: float) -> None:
        super().__init__()
        self.perceptual = perceptual

    def forward(self, x: Tensor) -> Tensor:
        return spectrum_loss(x, *_mixture(x), self.perceptual).view(1)


def _mixture(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy and clean waveforms (N, (T + 1) 256) for masks (T, N, 64, 8)."""
    frames, clips = mask.shape[:2]
    clean, noise = 0.05 * _random((2, clips, (frames + 1) * 256), torch.float32, 0)
    return (clean + noise).to(mask.dtype), clean.to(mask.dtype)


def verify(chosen: list[Subject] | None = None, seed: int = 1) -> Iterator[Verdict]:
    """Judges one subject after the other (all of `subjects` by default), on the CPU."""
    for subject in subjects() if chosen is None else chosen:
        forward, gradient = _against_twin(subject, seed)
        ours, theirs = _times(subject, seed)
        module = _fill(subject.ours(), torch.float64, seed)
        x = _random(subject.small, torch.float64, seed + 3)
        with torch.inference_mode():
            errors = nn.gradient_check(module, x, entries=subject.entries, seed=seed)
        yield Verdict(subject.name, forward, gradient, max(errors.values()), ours, theirs)


def _random(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def _fill(module: nn.Module, dtype: torch.dtype, seed: int) -> nn.Module:
    """Draws all parameters anew, biases too: a first bias of zero would hide a mistake there."""
    generator = torch.Generator().manual_seed(seed)
    module.to(dtype=dtype)
    for parameter in module.parameters():
        shape = parameter.data.shape
        size = 0.1 if len(shape) == 1 else (2 / shape[1:].numel()) ** 0.5  # biases; Kaiming's rule
        drawn = torch.randn(shape, dtype=dtype, generator=generator)
        parameter.data.copy_(drawn * size)
    return module


def _pair(subject: Subject, dtype: torch.dtype, seed: int) -> tuple[nn.Module, torch.nn.Module]:
    ours, theirs = _fill(subject.ours(), dtype, seed), subject.theirs().to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def _relative(ours: Tensor, theirs: Tensor | None) -> float:
    """||ours - theirs|| / ||theirs||."""
    assert theirs is not None, "autograd left no gradient"
    return float((ours - theirs).norm() / theirs.norm())


def _against_twin(subject: Subject, seed: int) -> tuple[float, float]:
    """Largest relative errors of the output, and of all gradients, in float64."""
    ours, theirs = _pair(subject, torch.float64, seed)
    x = _random(subject.shape, torch.float64, seed + 1)
    leaf = x.clone().requires_grad_()
    expected = theirs(leaf * 1)  # times one: layers that work in place may not overwrite a leaf
    cotangent = _random(tuple(expected.shape), torch.float64, seed + 2)
    expected.backward(cotangent)
    with torch.inference_mode():
        output = ours(x.clone())
        grad_input = ours.backward(cotangent.clone())
    wanted = dict(theirs.named_parameters())
    errors = [_relative(p.grad, wanted[name].grad) for name, p in ours.named_parameters()]
    if grad_input.numel():  # a network's first layer computes none
        errors.append(_relative(grad_input, leaf.grad))
    return _relative(output, expected.detach()), max(errors)


def _times(subject: Subject, seed: int) -> tuple[float, float]:
    """Median seconds of a forward and a backward pass in float32: ours, torch.nn's."""
    ours, theirs = _pair(subject, torch.float32, seed)
    x = _random(subject.shape, torch.float32, seed + 1)
    cotangent = torch.ones_like(theirs(x.clone()))

    def our_pass() -> None:
        with torch.inference_mode():
            ours(x.clone())
            ours.backward(cotangent.clone())

    def their_pass() -> None:
        theirs(x.clone().requires_grad_() * 1).backward(cotangent)

    taken: dict[Callable[[], None], list[float]] = {our_pass: [], their_pass: []}
    for number in range(ROUNDS + 1):
        for side, seconds in taken.items():
            started = time.perf_counter()
            side()
            if number:  # the first round only warms up
                seconds.append(time.perf_counter() - started)
    return median(taken[our_pass]), median(taken[their_pass])
