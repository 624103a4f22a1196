"""Linear layers over the last axis, and matrices over the frequency axis.

All of them see a signal as rows that lie contiguously in memory, (..., F, C) with any axes in
front, so that a layer is one matrix product. At inference a batch normalisation that follows a
linear layer is folded into it (`batch_norm.folded`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from audio_denoising.nn.memory import empty
from audio_denoising.nn.module import Module, Parameter

BLOCK = 1 << 18  # values that are worked on at once: 1 MiB in float32


def uniform(shape: tuple[int, ...], fan_in: int) -> Tensor:
    """Weights drawn evenly from +-1/sqrt(fan_in), as torch.nn draws those of its linear layers."""
    return (2 * torch.rand(shape) - 1) / math.sqrt(fan_in)


class Linear(Module):
    """y = W x + b over the last axis. (..., C) -> (..., C'); weight (C', C), bias (C')."""

    fresh_output = True

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        self.weight = Parameter(uniform((outputs, inputs), inputs))
        self.bias = Parameter(uniform((outputs,), inputs)) if bias else None
        self.input: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C').

        Raises:
            ValueError: x does not have C channels.
        """
        outputs, inputs = self.weight.data.shape
        require_channels("Linear", x, inputs)
        rows = x.reshape(-1, inputs)
        y = empty((len(rows), outputs), rows)
        across = self.weight.data.t()
        for part, out in row_blocks(rows, y):
            if self.bias is None:
                torch.mm(part, across, out=out)
            else:
                torch.addmm(self.bias.data, part, across, out=out)
        self.input = rows if self.training else None
        return y.view(*x.shape[:-1], outputs)

    # y_i = sum_j W_ij x_j + b_i:  dL/dW = (dL/dy)^T x,  dL/db = sum of dL/dy,  dL/dx = dL/dy W.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x."""
        assert self.input is not None, "backward needs a forward pass in training mode"
        rows, self.input = self.input, None
        grad = grad_output.reshape(-1, grad_output.shape[-1])
        grad_input = empty(tuple(rows.shape), rows)
        total = torch.zeros_like(self.weight.data)
        for part, dy, dx in row_blocks(rows, grad, grad_input):
            total.addmm_(dy.t(), part)
            torch.mm(dy, self.weight.data, out=dx)
        self.weight.add_gradient(total)
        if self.bias is not None:
            self.bias.add_gradient(grad.sum(0))
        return grad_input.view(*grad_output.shape[:-1], -1)


class BandMatrix(Module):
    """y = W x over the frequency axis, the same matrix for every channel.

    (..., F, C) -> (..., F', C), weight (F', F). Started as overlapping triangles it groups fine
    bands into coarse ones, or spreads them again; training moves it from there.
    """

    fresh_output = True

    def __init__(self, inputs: int, outputs: int) -> None:
        self.weight = Parameter(uniform((outputs, inputs), inputs))
        self.input: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., F, C) -> (..., F', C).

        Raises:
            ValueError: x does not have F bands.
        """
        outputs, inputs = self.weight.data.shape
        require_bands("BandMatrix", x, inputs)
        pictures = x.reshape(-1, inputs, x.shape[-1])
        self.input = pictures if self.training else None
        y = torch.matmul(self.weight.data, pictures)
        return y.view(*x.shape[:-2], outputs, x.shape[-1])

    # y_gc = sum_f W_gf x_fc:  dL/dW = sum over pictures of dL/dy x^T,  dL/dx = W^T dL/dy.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x."""
        assert self.input is not None, "backward needs a forward pass in training mode"
        pictures, self.input = self.input, None
        grad = grad_output.reshape(len(pictures), -1, grad_output.shape[-1])
        self.weight.add_gradient(torch.bmm(grad, pictures.transpose(1, 2)).sum(0))
        grad_input = torch.matmul(self.weight.data.t(), grad)
        return grad_input.view(*grad_output.shape[:-2], -1, grad_output.shape[-1])


class ChannelBandMatrix(Module):
    """y_c = W_c x_c: every channel has a matrix of its own over the frequency axis.

    (..., F, C) -> (..., F', C); weight (C, F', F). It lets distant bands (the harmonics of a voice,
    say) hear of each other, at a tenth of the cost of attention.
    """

    fresh_output = True

    def __init__(self, channels: int, inputs: int, outputs: int) -> None:
        self.weight = Parameter(uniform((channels, outputs, inputs), inputs))
        self.input: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., F, C) -> (..., F', C).

        Raises:
            ValueError: x does not have F bands and C channels.
        """
        channels, outputs, inputs = self.weight.data.shape
        require_channels("ChannelBandMatrix", x, channels, "..., F")
        require_bands("ChannelBandMatrix", x, inputs)
        rows = _channels_first(x)
        self.input = rows if self.training else None
        y = torch.bmm(rows, self.weight.data.transpose(1, 2))
        return y.permute(1, 2, 0).contiguous().view(*x.shape[:-2], outputs, channels)

    # For each channel what `Linear` does:  dL/dW_c = (dL/dy_c)^T x_c,  dL/dx_c = dL/dy_c W_c.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x."""
        assert self.input is not None, "backward needs a forward pass in training mode"
        rows, self.input = self.input, None
        grad = _channels_first(grad_output)
        self.weight.add_gradient(torch.bmm(grad.transpose(1, 2), rows))
        grad_input = torch.bmm(grad, self.weight.data).permute(1, 2, 0).contiguous()
        return grad_input.view(*grad_output.shape[:-2], rows.shape[2], rows.shape[0])


def require_channels(layer: str, x: Tensor, channels: int, before: str = "...") -> None:
    """Raises ValueError, naming the layer, unless the last axis of x has `channels` values.

    `before` names the axes in front, with a comma between two; "..." may stand for none.
    """
    if x.dim() < 1 + before.count(",") or x.shape[-1:] != (channels,):
        raise ValueError(f"{layer} takes ({before}, {channels}) and got {tuple(x.shape)}")


def require_bands(layer: str, x: Tensor, bands: int) -> None:
    """Raises ValueError, naming the layer, unless the last axis but one of x has `bands` values."""
    if x.dim() < 2 or x.shape[-2] != bands:
        raise ValueError(f"{layer} takes (..., {bands}, C) and got {tuple(x.shape)}")


def row_blocks(*rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Matrices (M, ...) a stretch of rows at a time, so that a CPU keeps them in its cache."""
    count, values = len(rows[0]), sum(r.shape[1] for r in rows)
    size = max(1, BLOCK // values) if rows[0].device.type == "cpu" else max(1, count)
    yield from zip(*(r.split(size) for r in rows), strict=True)


def _channels_first(x: Tensor) -> Tensor:
    """(..., F, C) -> (C, R, F), contiguous, R the product of all axes in front."""
    return x.reshape(-1, *x.shape[-2:]).permute(2, 0, 1).contiguous()
