"""Activations: the element-wise curves between the linear layers.

ReLU and LeakyReLU keep the sign of their input, so their derivative can be read from their
*output*. That output is stored anyway, as the input of the next layer, so the activation works in
place and costs no memory of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .module import Module


class LeakyReLU(Module):
    """y = x where x > 0, slope * x elsewhere; in place. Maas et al., "Rectifier nonlinearities
    improve neural network acoustic models", ICML 2013. Shapes: any -> the same."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope
        self.output: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Overwrites x with the activation."""
        y = torch.maximum(x, x * self.slope, out=x) if self.slope else x.clamp_(min=0)
        self.output = y if self.training else None
        return y

    # dy/dx = 1 where y > 0, slope elsewhere.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Overwrites grad_output with the gradient at the input."""
        assert self.output is not None, "backward needs a forward pass in training mode"
        positive = self.output > 0
        self.output = None
        one = grad_output.new_ones(())  # of two plain numbers, `where` would make a float32 tensor
        return grad_output.mul_(torch.where(positive, one, self.slope))


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
