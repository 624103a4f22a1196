"""Activations: the element-wise curves between the linear layers.

ReLU and LeakyReLU keep the sign of their input, so their derivative can be read from their
*output*. That output is stored anyway, as the input of the next layer, so the activation works in
place and costs no memory of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .convolution import Convolution
from .memory import scratch
from .module import Module
from .tiles import blocks

BLOCK = 1 << 16  # values: a block and its temporaries stay in the second-level cache


class LeakyReLU(Module):
    """y = x where x > 0, slope * x elsewhere; in place. Maas et al., "Rectifier nonlinearities
    improve neural network acoustic models", ICML 2013. Shapes: any -> the same."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope
        self.output: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Overwrites x with the activation."""
        for (part,) in blocks(BLOCK, x):
            self._activate(part)
        self.output = x if self.training else None
        return x

    def after(self, layer: Convolution, x: Tensor) -> Tensor:
        """`self(layer(x))`, each piece of the layer's output activated while it is in the cache."""
        y = layer.forward(x, self._activate)
        self.output = y if self.training else None
        return y

    def _activate(self, part: Tensor) -> None:
        leaked = torch.mul(part, self.slope, out=scratch(tuple(part.shape), part, "activation"))
        torch.maximum(part, leaked, out=part)

    # dy/dx = 1 where y > 0, slope elsewhere: a step function, made by clamping a very steep line.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Overwrites grad_output with the gradient at the input."""
        assert self.output is not None, "backward needs a forward pass in training mode"
        steep = torch.finfo(grad_output.dtype).max
        for y, grad in blocks(BLOCK, self.output, grad_output):
            slopes = torch.mul(y, steep, out=scratch(tuple(y.shape), y, "activation"))
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
