"""Batch normalisation over all axes but the last, alone or with SiLU behind it.

    z^ = (z - mean) / sqrt(variance + epsilon),   y = gain z^ + offset

Training uses the moments of the batch, inference running averages of them. There the whole layer
is y = a z + k and folds into the linear layer before it. Ioffe and Szegedy, ICML 2015
(arXiv:1502.03167). Where processes share a batch its moments are those of all their shares, which
are of one size, so that they make the step of one process.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from audio_denoising.nn.activations import SiLU
from audio_denoising.nn.containers import Sequential
from audio_denoising.nn.linear import FrequencyConv, Linear
from audio_denoising.nn.memory import empty
from audio_denoising.nn.module import Buffer, Module, Parameter, require

BLOCK = 1 << 16  # values: a block stays in the second-level cache from pass to pass


class BatchNorm(Module):
    """(..., C) -> (..., C); weight (gain) and bias (offset) (C), running_mean and running_var (C).

    The bias is left out where another normalisation follows, which would take it out again. The
    running variance is the unbiased one, as in torch.nn.

    Attributes:
        processes: that share a batch.
        mean_over_processes: of a tensor that each of them has, in place.
    """

    fresh_output = True
    epsilon = 1e-5  # added to the variance
    momentum = 0.1  # share of the newest batch in the running averages
    processes = 1
    mean_over_processes: Callable[[Tensor], Tensor]

    def __init__(self, channels: int, bias: bool = True) -> None:
        self.weight = Parameter(torch.ones(channels))
        self.bias = Parameter(torch.zeros(channels)) if bias else None
        self.running_mean = Buffer(torch.zeros(channels))
        self.running_var = Buffer(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape; ValueError for other channels, or too few rows to train."""
        name = type(self).__name__
        channels = len(self.weight.data)
        require(x.shape[-1:] == (channels,), f"{name} takes (..., {channels})", x)
        rows = x.reshape(-1, x.shape[-1])
        if self.training:
            if len(rows) < 2:
                raise ValueError(f"{name} needs 2 rows or more to train, got {len(rows)}")
            mean, count = self._shared(rows.mean(0)), self.processes * len(rows)
            variance = torch.zeros_like(mean)
            for (part,) in _blocks(rows):
                variance += (part - mean).square_().sum(0) / len(rows)
            variance = self._shared(variance)
            unbiased = variance * (count / (count - 1))
            self.running_mean.data.lerp_(mean, self.momentum)
            self.running_var.data.lerp_(unbiased, self.momentum)
            inverse = (variance + self.epsilon).rsqrt()
            scale, shift = self._affine(mean, inverse)
            self.keep(rows, mean, inverse, scale, shift)
        else:
            scale, shift = self.affine()
        y = empty(tuple(rows.shape), rows)
        for part, out in _blocks(rows, y):
            self._finish(torch.addcmul(shift, part, scale, out=out))
        return y.view(x.shape)

    # With p = a z + k, a = gain / sigma, and sums over the M rows of a batch:
    #   doffset = sum dp,   dgain = sum dp z^ = (sum dp z - mean sum dp) / sigma.
    # Mean and variance depend on every row, which adds two corrections,
    #   dz = a (dp - doffset / M - z^ dgain / M)
    #      = a dp + k0 + k1 z,   k1 = -a dgain / (sigma M),   k0 = -a doffset / M - k1 mean,
    # so one pass gathers both sums and one pass writes dz. A process that shares a batch has M rows
    # of P M, and dp of the mean loss over its own mixtures alone, which is P times what the batch's
    # would be: so that the sums over all rows, divided by P M, are the means of these sums by M.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x, a new tensor."""
        return self.overwrite_gradient(grad_output.clone())

    def overwrite_gradient(self, grad_output: Tensor) -> Tensor:
        """`backward` in place."""
        rows, mean, inverse, scale, shift = self.take()
        grad = grad_output.reshape(rows.shape)
        offset, product = torch.zeros_like(mean), torch.zeros_like(mean)
        for part, dp in _blocks(rows, grad):
            self._slope(part, dp, scale, shift)
            offset += dp.sum(0)
            product += (dp * part).sum(0)
        offset, product = self._shared(torch.stack((offset, product)))
        gain = (product - mean * offset) * inverse
        k1 = -scale * inverse * gain / len(rows)
        k0 = -scale * offset / len(rows) - k1 * mean
        for part, dp in _blocks(rows, grad):
            dp.mul_(scale).add_(k0).addcmul_(part, k1)
        self.weight.add_gradient(gain)
        if self.bias is not None:
            self.bias.add_gradient(offset)
        return grad.view(grad_output.shape)

    def _shared(self, value: Tensor) -> Tensor:
        """The mean over all processes, in place."""
        return self.mean_over_processes(value) if self.processes > 1 else value

    def affine(self) -> tuple[Tensor, Tensor]:
        """a and k (C) of y = a z + k in evaluation mode."""
        return self._affine(self.running_mean.data, (self.running_var.data + self.epsilon).rsqrt())

    def _affine(self, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.weight.data * inverse
        return scale, (0 if self.bias is None else self.bias.data) - mean * scale

    def _finish(self, y: Tensor) -> None:
        """What follows the normalisation, in place: nothing here."""

    def _slope(self, rows: Tensor, grad: Tensor, scale: Tensor, shift: Tensor) -> None:
        """Takes grad, in place, from behind `_finish` to before it."""


class BatchNormSiLU(BatchNorm):
    """Batch normalisation, then SiLU(p) = p sigmoid(p), in one layer: p is never kept.

    Hendrycks and Gimpel, "Gaussian error linear units", 2016 (arXiv:1606.08415), section 2;
    Elfwing et al., Neural Networks 107 (2018), named it.
    """

    def _finish(self, y: Tensor) -> None:
        y.mul_(torch.sigmoid(y))

    # With s = sigmoid(p): dSiLU/dp = s + p s (1 - s) = s (1 + p (1 - s)), p computed again.

    def _slope(self, rows: Tensor, grad: Tensor, scale: Tensor, shift: Tensor) -> None:
        p = torch.addcmul(shift, rows, scale)
        s = torch.sigmoid(p)
        grad.mul_(p.mul_(1 - s).add_(1).mul_(s))


def _blocks(*matrices: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Stretches of rows of matrices (M, C), so that several passes cost one; whole on a GPU."""
    count, channels = matrices[0].shape
    size = max(1, BLOCK // channels) if matrices[0].device.type == "cpu" else count
    yield from zip(*(matrix.split(size) for matrix in matrices), strict=True)


def folded(network: Module) -> Module:
    """A copy of a network for inference, in which linear layers do what normalisations did.

    W x + b normalised is (a W) x + (a b + k): where a chain has a `Linear` or `FrequencyConv`
    followed by a normalisation, the copy has one layer, with SiLU behind it where it was.
    """
    twin = copy.deepcopy(network).eval()
    for module in twin.modules():
        if isinstance(module, Sequential):
            module.layers = tuple(_folded(module.layers))
    return twin


def _folded(layers: tuple[Module, ...]) -> Iterator[Module]:
    before: Module | None = None
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, Linear | FrequencyConv) and isinstance(following, BatchNorm):
            scale, shift = following.affine()
            weight = layer.weight.data
            bias = shift if layer.bias is None else layer.bias.data * scale + shift
            layer.weight = Parameter(weight * scale.view(-1, *[1] * (weight.dim() - 1)))
            layer.bias = Parameter(bias)
            yield layer
            if isinstance(following, BatchNormSiLU):
                yield SiLU().eval()
        elif not (isinstance(layer, BatchNorm) and isinstance(before, Linear | FrequencyConv)):
            yield layer
        before = layer


def take_statistics(model: Any, batches: Iterable[Tensor]) -> None:
    """Sets the running moments of a network to their means over some batches of input.

    While one trains they follow the weights of every step. An average of weights is another
    network, whose moments are other ones (Izmailov et al., "Averaging weights", UAI 2018,
    section 3.2). It is left in evaluation mode. One that does not normalise stays as it is, and no
    batch is asked for. Of several processes each hears these batches whole.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, BatchNorm)]
    if not norms:
        return
    usual = [(norm.momentum, norm.processes) for norm in norms]
    model.train()
    for count, batch in enumerate(batches, 1):
        for norm in norms:
            norm.momentum, norm.processes = 1 / count, 1
        model(batch)
    for norm, before in zip(norms, usual, strict=True):
        norm.momentum, norm.processes = before
    model.eval()
