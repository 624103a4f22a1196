"""Convolution over the frequency axis alone, on rows that lie channels-last.

The row of a frame is lowered to columns (im2col in one dimension) a few frames at a time, so that
the columns stay in the cache between being written and being multiplied; a GPU takes all at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .linear import require_channels, uniform
from .memory import empty, scratch
from .module import Module, Parameter
from .tiles import tiles


class FrequencyConv(Module):
    """y_f = b + sum_k W_k x_(f + k - P), zeros beyond both ends, P = (K - 1) / 2.

    (..., F, C) -> (..., F, C'); weight (C', C, K) and bias (C') as in torch.nn.Conv1d.

    Raises:
        ValueError: the kernel is not odd.
    """

    fresh_output = True
    input_gradient = True  # False for a first layer: nothing is trained before it

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, bias: bool = True) -> None:
        if kernel % 2 == 0:
            raise ValueError(f"FrequencyConv needs an odd kernel, got {kernel}")
        self.weight = Parameter(uniform((outputs, inputs, kernel), inputs * kernel))
        self.bias = Parameter(uniform((outputs,), inputs * kernel)) if bias else None
        self.input: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., F, C) -> (..., F, C').

        Raises:
            ValueError: x does not have C channels.
        """
        outputs, inputs, kernel = self.weight.data.shape
        require_channels("FrequencyConv", x, inputs, "..., F")
        rows = x.reshape(-1, *x.shape[-2:])
        y = empty((*rows.shape[:2], outputs), rows)
        matrix = self._matrix()
        for part in self._parts(rows):
            columns = lowered(rows[part], kernel)
            torch.mm(columns, matrix, out=y[part].view(-1, outputs))
            if self.bias is not None:
                y[part] += self.bias.data
        self.input = rows if self.training else None
        return y.view(*x.shape[:-1], outputs)

    # With the columns X of x, y = X W: dL/dW = X^T dL/dy and dL/dX = dL/dy W^T. Each value of x
    # stands in K places of X, so its gradient is the sum over those.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x; empty where `input_gradient` is False."""
        assert self.input is not None, "backward needs a forward pass in training mode"
        rows, self.input = self.input, None
        outputs, inputs, kernel = self.weight.data.shape
        grad = grad_output.reshape(*rows.shape[:2], outputs)
        across = self._matrix().t().contiguous()
        total = rows.new_zeros(kernel * inputs, outputs)
        grad_rows = empty(tuple(rows.shape) if self.input_gradient else (0,), rows)
        for part in self._parts(rows):
            here = grad[part].reshape(-1, outputs)
            total.addmm_(lowered(rows[part], kernel).t(), here)
            if self.input_gradient:
                columns = torch.mm(here, across).view(*rows[part].shape[:2], -1)
                _gather(columns, kernel, grad_rows[part])
        self.weight.add_gradient(total.view(kernel, inputs, outputs).permute(2, 1, 0))
        if self.bias is not None:
            self.bias.add_gradient(grad.sum((0, 1)))
        return grad_rows.view(*grad_output.shape[:-1], inputs) if self.input_gradient else grad_rows

    def _matrix(self) -> Tensor:
        """The weights as the columns need them, (K C, C')."""
        return self.weight.data.permute(2, 1, 0).reshape(-1, self.weight.data.shape[0])

    def _parts(self, rows: Tensor) -> Iterator[slice]:
        outputs, inputs, kernel = self.weight.data.shape
        values = kernel * inputs + outputs
        return (n for n, _ in tiles(len(rows), rows.shape[1], values, rows.device))


def lowered(rows: Tensor, kernel: int) -> Tensor:
    """(R, F, C) -> columns (R F, K C) in the work area: each place beside its K - 1 neighbours."""
    count, bands, channels = rows.shape
    columns = scratch((count, bands, kernel * channels), rows)
    for k in range(kernel):
        shift = k - kernel // 2
        to, start = _places(bands, shift)
        block = columns[..., k * channels : (k + 1) * channels]
        block[:, to] = rows[:, start]
        if shift < 0:
            block[:, : to.start] = 0
        elif shift > 0:
            block[:, to.stop :] = 0
    return columns.view(count * bands, -1)


def _gather(columns: Tensor, kernel: int, out: Tensor) -> None:
    """The transpose of `lowered`: out (R, F, C) = the sum of each value's places in the columns."""
    channels = out.shape[2]
    middle = kernel // 2
    out.copy_(columns[..., middle * channels : (middle + 1) * channels])
    for k in range(kernel):
        if k != middle:
            to, start = _places(out.shape[1], k - middle)
            out[:, start] += columns[:, to, k * channels : (k + 1) * channels]


def _places(bands: int, shift: int) -> tuple[slice, slice]:
    """Where values that lie `shift` places further up go, and where they come from."""
    inside = max(0, bands - abs(shift))
    low = min(bands, max(0, -shift))
    return slice(low, low + inside), slice(
        low + shift if inside else 0, low + shift + inside if inside else 0
    )
