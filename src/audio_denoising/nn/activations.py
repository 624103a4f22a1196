"""Activations: the element-wise curves between the linear layers.

ReLU and LeakyReLU keep the sign of their input, so their derivative can be read from their
*output*. That output is stored anyway, as the input of the next layer. A container that owns their
input lets them overwrite it, so that they cost no memory of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from audio_denoising.nn.memory import empty_like, scratch
from audio_denoising.nn.module import Module

BLOCK = 1 << 16  # values: a block and its temporaries stay in the second-level cache
SMALLEST = 1e-6  # modulus below which tanh(r) / r is 1 in float32


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Flat stretches of tensors that lie alike in memory, so that several passes cost one.

    Tensors that do not lie alike, or not densely, and tensors on a GPU come whole.
    """
    first = tensors[0]
    extent = 1 + sum((n - 1) * step for n, step in zip(first.shape, first.stride(), strict=True))
    alike = all(t.stride() == first.stride() for t in tensors)
    if not (extent == first.numel() and alike and first.device.type == "cpu"):
        yield tensors
        return
    flat = [t.as_strided((t.numel(),), (1,), t.storage_offset()) for t in tensors]
    yield from zip(*(t.split(BLOCK) for t in flat), strict=True)


class LeakyReLU(Module):
    """y = x where x > 0, slope * x elsewhere. Maas et al., "Rectifier nonlinearities improve
    neural network acoustic models", ICML 2013. Shapes: any -> the same. ValueError for a slope
    beyond [0, 1], with which the sign of x could not be read from y.
    """

    def __init__(self, slope: float = 0.01) -> None:
        if not 0 <= slope <= 1:
            raise ValueError(f"the slope of a LeakyReLU lies in [0, 1], and {slope} does not")
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Returns a new tensor."""
        return self._activate(x, empty_like(x))

    def overwrite(self, x: Tensor) -> Tensor:
        """`forward` in place."""
        return self._activate(x, x)

    def _activate(self, x: Tensor, y: Tensor) -> Tensor:
        for part, out in _blocks(x, y):
            leaked = torch.mul(part, self.slope, out=scratch(tuple(part.shape), part, "activation"))
            torch.maximum(part, leaked, out=out)
        self.keep(y)
        return y

    # dy/dx = 1 where y > 0, slope elsewhere: a step function, made by clamping a very steep line.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at the input, a new tensor."""
        return self._differentiate(grad_output, empty_like(grad_output))

    def overwrite_gradient(self, grad_output: Tensor) -> Tensor:
        """`backward` in place."""
        return self._differentiate(grad_output, grad_output)

    def _differentiate(self, grad_output: Tensor, grad_input: Tensor) -> Tensor:
        (output,) = self.take()
        steep = torch.finfo(grad_output.dtype).max
        for y, grad, out in _blocks(output, grad_output, grad_input):
            slopes = torch.mul(y, steep, out=scratch(tuple(y.shape), y, "activation"))
            torch.mul(grad, slopes.clamp_(self.slope, 1.0), out=out)
        return grad_input


class ReLU(LeakyReLU):
    """y = max(x, 0). Shapes: any -> the same."""

    def __init__(self) -> None:
        super().__init__(slope=0.0)


class Sigmoid(Module):
    """y = 1 / (1 + exp(-x)). Shapes: any -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns a new tensor in (0, 1)."""
        y = torch.sigmoid(x)
        self.keep(y)
        return y

    # dy/dx = y (1 - y).

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at the input."""
        (y,) = self.take()
        return grad_output * y * (1 - y)


class SiLU(Module):
    """y = x sigmoid(x). Hendrycks and Gimpel, 2016 (arXiv:1606.08415). Shapes: any -> the same."""

    fresh_output = True

    def forward(self, x: Tensor) -> Tensor:
        """Returns a new tensor."""
        self.keep(x)
        return x * torch.sigmoid(x)

    def overwrite(self, x: Tensor) -> Tensor:
        """`forward`, in evaluation mode in place."""
        if self.training:
            return self.forward(x)
        for (part,) in _blocks(x):
            part.mul_(torch.sigmoid(part))
        return x

    # With s = sigmoid(x): dy/dx = s + x s (1 - s) = s (1 + x (1 - s)).

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at the input."""
        (x,) = self.take()
        s = torch.sigmoid(x)
        return (1 - s).mul_(x).add_(1).mul_(s).mul_(grad_output)


class RadialTanh(Module):
    """Pulls complex numbers into the unit disc: y = m tanh(r) / r with r = |m|.

    The phase stays, the modulus is bounded by 1: a mask made this way never amplifies. The last
    axis holds real and imaginary parts in turn. Shapes: (..., 2 n) -> the same.
    """

    fresh_output = True

    def forward(self, x: Tensor) -> Tensor:
        """Returns a new tensor; ValueError where the last axis is odd."""
        if x.shape[-1:].numel() % 2:
            raise ValueError(f"RadialTanh takes pairs along the last axis and got {tuple(x.shape)}")
        m = x.unflatten(-1, (-1, 2))
        r = m.square().sum(-1, keepdim=True).clamp_(min=SMALLEST**2).sqrt_()
        tanh = torch.tanh(r)
        self.keep(m, r, tanh)
        return (m * (tanh / r)).view(x.shape)

    # y = q m with q = tanh(r) / r, and dq/dm = q'(r) m / r with q' = (1 - tanh^2 r - q) / r:
    #   dL/dm = q g + (1 - tanh^2 r - q) / r^2 <g, m> m.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at the input."""
        m, r, tanh = self.take()
        g = grad_output.view(m.shape)
        q = tanh / r
        along = (g * m).sum(-1, keepdim=True) * (1 - tanh * tanh - q) / (r * r)
        return (q * g).addcmul_(along, m).view(grad_output.shape)
