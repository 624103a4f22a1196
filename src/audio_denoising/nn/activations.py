"""Activations: the element-wise curves between the linear layers.

ReLU and LeakyReLU keep the sign of their input, so their derivative can be read from their
*output*. That output is stored anyway, as the input of the next layer, so the activation works in
place and costs no memory of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .memory import scratch
from .module import Module

BLOCK = 1 << 16  # values: a block and its temporaries stay in the second-level cache


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Flat stretches of tensors that lie alike in memory, so that several passes cost one.

    Tensors that do not lie alike, or not densely, and tensors on a GPU come whole.
    """
    first = tensors[0]
    dense = first.is_contiguous() or first.is_contiguous(memory_format=torch.channels_last)
    alike = all(t.stride() == first.stride() for t in tensors)
    if not (dense and alike and first.device.type == "cpu"):
        yield tensors
        return
    flat = [t.as_strided((t.numel(),), (1,), t.storage_offset()) for t in tensors]
    yield from zip(*(t.split(BLOCK) for t in flat), strict=True)


class LeakyReLU(Module):
    """y = x where x > 0, slope * x elsewhere; in place. Maas et al., "Rectifier nonlinearities
    improve neural network acoustic models", ICML 2013. Shapes: any -> the same."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope
        self.output: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Overwrites x with the activation."""
        for (part,) in _blocks(x):
            leaked = torch.mul(part, self.slope, out=scratch(tuple(part.shape), part))
            torch.maximum(part, leaked, out=part)
        self.output = x if self.training else None
        return x

    # dy/dx = 1 where y > 0, slope elsewhere: a step function, made by clamping a very steep line.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Overwrites grad_output with the gradient at the input."""
        assert self.output is not None, "backward needs a forward pass in training mode"
        steep = torch.finfo(grad_output.dtype).max
        for y, grad in _blocks(self.output, grad_output):
            slopes = torch.mul(y, steep, out=scratch(tuple(y.shape), y))
            grad.mul_(slopes.clamp_(self.slope, 1.0))
        self.output = None
        return grad_output


class ReLU(LeakyReLU):
    """y = max(x, 0), in place. Shapes: any -> the same."""

    def __init__(self) -> None:
        super().__init__(slope=0.0)


class Sigmoid(Module):
    """y = 1 / (1 + exp(-x)). Shapes: any -> the same."""

    def __init__(self) -> None:
        self.output: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Returns a new tensor in (0, 1)."""
        y = torch.sigmoid(x)
        self.output = y if self.training else None
        return y

    # dy/dx = y (1 - y).

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at the input."""
        assert self.output is not None, "backward needs a forward pass in training mode"
        y, self.output = self.output, None
        return grad_output * y * (1 - y)
