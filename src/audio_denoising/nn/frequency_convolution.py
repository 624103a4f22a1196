"""Convolution over the frequency axis alone, on rows that lie channels-last.

With P zeros at both ends of every frame, all frames lie behind each other as one long matrix of
rows, and neighbours in frequency are neighbours in it. So each of the K places of the kernel is one
matrix product with the same rows, shifted: nothing is lowered to columns. What the products give
between two frames is thrown away. A few frames are computed at a time, so that they stay in the
cache; a GPU takes all at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from audio_denoising.nn.linear import require_channels, uniform
from audio_denoising.nn.memory import empty, scratch
from audio_denoising.nn.module import Module, Parameter
from audio_denoising.nn.tiles import tiles


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
        matrices = [w.t().contiguous() for w in self.weight.data.unbind(2)]
        for part in self._parts(rows):
            padded = _padded(rows[part], kernel // 2, kernel // 2, "input")
            made = scratch((*padded.shape[:2], outputs), rows, "output")
            flat, out = _shifted(padded, kernel), _shifted(made, kernel)[0]
            torch.mm(flat[0], matrices[0], out=out)
            for k in range(1, kernel):
                out.addmm_(flat[k], matrices[k])
            inside = made[:, : rows.shape[1]]
            if self.bias is None:
                y[part] = inside
            else:
                torch.add(inside, self.bias.data, out=y[part])
        self.input = rows if self.training else None
        return y.view(*x.shape[:-1], outputs)

    # Each place of the kernel is a linear layer of rows shifted by k, so with g = dL/dy:
    #   dL/dW_k = sum over f of g_f x_(f + k - P)^T,   dL/dx_f = sum over k of W_k^T g_(f - k + P).
    # Between the frames g is zero, which makes the products of whole matrices right.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x; empty where `input_gradient` is False."""
        assert self.input is not None, "backward needs a forward pass in training mode"
        rows, self.input = self.input, None
        outputs, inputs, kernel = self.weight.data.shape
        grad = grad_output.reshape(*rows.shape[:2], outputs)
        matrices = [w.contiguous() for w in self.weight.data.unbind(2)]
        totals = rows.new_zeros(kernel, outputs, inputs)
        grad_rows = empty(tuple(rows.shape) if self.input_gradient else (0,), rows)
        middle = kernel // 2
        for part in self._parts(rows):
            flat = _shifted(_padded(rows[part], middle, middle, "input"), kernel)
            g = _shifted(_padded(grad[part], 0, 2 * middle, "output"), kernel)[0]
            for k in range(kernel):
                totals[k].addmm_(g.t(), flat[k])
            if self.input_gradient:
                made = scratch((*grad[part].shape[:1], rows.shape[1] + 2 * middle, inputs), rows)
                out = _shifted(made, kernel)
                torch.mm(g, matrices[middle], out=out[middle])
                for k in range(kernel):
                    if k != middle:
                        out[k].addmm_(g, matrices[k])
                grad_rows[part] = made[:, middle : middle + rows.shape[1]]
        self.weight.add_gradient(totals.permute(1, 2, 0))
        if self.bias is not None:
            self.bias.add_gradient(grad.sum((0, 1)))
        return grad_rows.view(*grad_output.shape[:-1], inputs) if self.input_gradient else grad_rows

    def _parts(self, rows: Tensor) -> Iterator[slice]:
        outputs, inputs, kernel = self.weight.data.shape
        values = 2 * inputs + outputs
        return (n for n, _ in tiles(len(rows), rows.shape[1] + kernel, values, rows.device))


def _padded(rows: Tensor, before: int, behind: int, use: str) -> Tensor:
    """(R, F, C) -> (R, before + F + behind, C) in the work area, zeros around."""
    count, bands, channels = rows.shape
    padded = scratch((count, before + bands + behind, channels), rows, use)
    padded[:, :before] = 0
    padded[:, before : before + bands] = rows
    padded[:, before + bands :] = 0
    return padded


def _shifted(padded: Tensor, kernel: int) -> list[Tensor]:
    """(R, F + K - 1, C) -> K views (R (F + K - 1) - K + 1, C), each a row further down."""
    flat = padded.view(-1, padded.shape[2])
    count = len(flat) - kernel + 1
    return [flat[k : k + count] for k in range(kernel)]
