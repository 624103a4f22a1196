"""Linear layers of rows (..., F, C): over the channels, over the frequencies, or over neighbours.

All of them see a signal as rows that lie contiguously in memory, with any axes in front, so that a
layer is one matrix product. At inference a batch normalisation that follows a linear layer is
folded into it (`batch_norm.folded`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audio_denoising.nn.fast import rows as lowering
from audio_denoising.nn.memory import empty
from audio_denoising.nn.module import Module, Parameter, require


def uniform(shape: tuple[int, ...], fan_in: int) -> Tensor:
    """Weights drawn evenly from +-1/sqrt(fan_in), as torch.nn draws those of its linear layers."""
    drawn = torch.empty(shape)
    # Of what has no memory nothing is drawn: torch would load its compiler for it, in a second.
    return drawn if drawn.is_meta else (2 * drawn.uniform_() - 1) / math.sqrt(fan_in)


class Linear(Module):
    """y = W x + b over the last axis. (..., C) -> (..., C'); weight (C', C), bias (C')."""

    fresh_output = True

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        self.weight = Parameter(uniform((outputs, inputs), inputs))
        self.bias = Parameter(uniform((outputs,), inputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C'); ValueError for other channels."""
        outputs, inputs = self.weight.data.shape
        require(x.shape[-1:] == (inputs,), f"Linear takes (..., {inputs})", x)
        rows = x.reshape(-1, inputs)
        self.keep(rows)
        y = empty((len(rows), outputs), rows)
        if self.bias is None:
            torch.mm(rows, self.weight.data.t(), out=y)
        else:
            torch.addmm(self.bias.data, rows, self.weight.data.t(), out=y)
        return y.view(*x.shape[:-1], outputs)

    # y_i = sum_j W_ij x_j + b_i:  dL/dW = (dL/dy)^T x,  dL/db = sum of dL/dy,  dL/dx = dL/dy W.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x."""
        (rows,) = self.take()
        grad = grad_output.reshape(-1, grad_output.shape[-1])
        self.weight.add_gradient(grad.t() @ rows)
        if self.bias is not None:
            self.bias.add_gradient(grad.sum(0))
        grad_input = torch.mm(grad, self.weight.data, out=empty(tuple(rows.shape), rows))
        return grad_input.view(*grad_output.shape[:-1], -1)


class FrequencyConv(Module):
    """y_f = b + sum_k W_k x_(f + k - P), zeros beyond both ends, P = (K - 1) / 2.

    (..., F, C) -> (..., F, C'); weight (C', C, K) and bias (C') as in torch.nn.Conv1d. It is a
    convolution of images of one row, (R, C, 1, F), R the product of all axes in front. ValueError
    for an even kernel.
    """

    fresh_output = True
    input_gradient = True  # False for a first layer: nothing is trained before it

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, bias: bool = True) -> None:
        if kernel % 2 == 0:
            raise ValueError(f"FrequencyConv needs an odd kernel, got {kernel}")
        self.weight = Parameter(uniform((outputs, inputs, kernel), inputs * kernel))
        self.bias = Parameter(uniform((outputs,), inputs * kernel)) if bias else None
        self.place = (1, 1), (0, kernel // 2)  # stride and padding

    def forward(self, x: Tensor) -> Tensor:
        """(..., F, C) -> (..., F, C'); ValueError for other channels."""
        outputs, inputs, _ = self.weight.data.shape
        fits = x.dim() > 1 and x.shape[-1] == inputs
        require(fits, f"FrequencyConv takes (..., F, {inputs})", x)
        images = _one_row(x)
        self.keep(images)
        bias = None if self.bias is None else self.bias.data
        y = lowering.correlate(images, self.weight.data.unsqueeze(2), bias, *self.place)
        return y.permute(0, 2, 3, 1).view(*x.shape[:-1], outputs)

    # dL/dW_k = sum over f of g_f x_(f + k - P)^T,   dL/dx_f = sum over k of W_k^T g_(f - k + P).

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x; empty where `input_gradient` is False."""
        (images,) = self.take()
        weight, grad = self.weight.data.unsqueeze(2), _one_row(grad_output)
        dw = lowering.weight_gradient(images, grad, (1, weight.shape[3]), *self.place)
        self.weight.add_gradient(dw.squeeze(2))
        if self.bias is not None:
            self.bias.add_gradient(grad.sum((0, 2, 3)))
        if not self.input_gradient:
            return images.new_empty(0)
        dx = lowering.input_gradient(grad, weight, (1, images.shape[3]), *self.place)
        return dx.permute(0, 2, 3, 1).view(*grad_output.shape[:-1], -1)


class BandMatrix(Module):
    """y = W x over the frequency axis, the same matrix for every channel.

    (..., F, C) -> (..., F', C), weight (F', F). Started as overlapping triangles it groups fine
    bands into coarse ones, or spreads them again; training moves it from there.
    """

    fresh_output = True

    def __init__(self, inputs: int, outputs: int) -> None:
        self.weight = Parameter(uniform((outputs, inputs), inputs))

    def forward(self, x: Tensor) -> Tensor:
        """(..., F, C) -> (..., F', C); ValueError for other bands."""
        outputs, inputs = self.weight.data.shape
        fits = x.dim() > 1 and x.shape[-2] == inputs
        require(fits, f"BandMatrix takes (..., {inputs}, C)", x)
        pictures = x.reshape(-1, inputs, x.shape[-1])
        self.keep(pictures)
        y = torch.matmul(self.weight.data, pictures)
        return y.view(*x.shape[:-2], outputs, x.shape[-1])

    # y_gc = sum_f W_gf x_fc:  dL/dW = sum over pictures of dL/dy x^T,  dL/dx = W^T dL/dy.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x."""
        (pictures,) = self.take()
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

    def forward(self, x: Tensor) -> Tensor:
        """(..., F, C) -> (..., F', C); ValueError for other bands or channels."""
        channels, outputs, inputs = self.weight.data.shape
        fits = x.shape[-2:] == (inputs, channels)
        require(fits, f"ChannelBandMatrix takes (..., {inputs}, {channels})", x)
        rows = _channels_first(x)
        self.keep(rows)
        y = torch.bmm(rows, self.weight.data.transpose(1, 2))
        return y.permute(1, 2, 0).contiguous().view(*x.shape[:-2], outputs, channels)

    # For each channel what `Linear` does:  dL/dW_c = (dL/dy_c)^T x_c,  dL/dx_c = dL/dy_c W_c.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x."""
        (rows,) = self.take()
        grad = _channels_first(grad_output)
        self.weight.add_gradient(torch.bmm(grad.transpose(1, 2), rows))
        grad_input = torch.bmm(grad, self.weight.data).permute(1, 2, 0).contiguous()
        return grad_input.view(*grad_output.shape[:-2], rows.shape[2], rows.shape[0])


def _one_row(x: Tensor) -> Tensor:
    """(..., F, C) -> (R, C, 1, F), channels last in memory."""
    return x.reshape(-1, 1, *x.shape[-2:]).permute(0, 3, 1, 2)


def _channels_first(x: Tensor) -> Tensor:
    """(..., F, C) -> (C, R, F), contiguous, R the product of all axes in front."""
    return x.reshape(-1, *x.shape[-2:]).permute(2, 0, 1).contiguous()
