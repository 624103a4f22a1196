"""Convolution of images with few channels: the first layer of a spectrogram network.

With one channel a lowered row (see `row_lowering.py`) would be K_t values long, too short to copy
or to multiply well. A column matrix made of whole shifted planes is copied in long runs instead,
and its transpose times the kernels gives the channels-last output at once.
"""

from __future__ import annotations

from torch import Tensor

from . import row_lowering
from .geometry import Pair, output_size
from .im2col import im2col
from .memory import channels_last, empty, sum_type

FEW_CHANNELS = 4


def suits(kernel: Pair, channels_in: int) -> bool:
    """Whether this is the right way for a layer of such a shape."""
    return channels_in < FEW_CHANNELS and kernel != (1, 1)


def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """y = W * x + b. x (N, C, F, T), weight (C', C, K_f, K_t), bias (C',) -> (N, C', F', T')."""
    kernel = (weight.shape[2], weight.shape[3])
    fo, to = output_size((x.shape[2], x.shape[3]), kernel, stride, padding)
    matrix = weight.flatten(1).T
    y = empty((len(x), fo * to, len(weight)), x)
    y.copy_(bias) if bias is not None else y.zero_()
    for sample, out in zip(x, y, strict=True):
        out.addmm_(im2col(sample[None], kernel, stride, padding)[0].T, matrix)
    return y.view(len(x), fo, to, len(weight)).permute(0, 3, 1, 2)


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW = sum over n of im2col(x) . dL/dy, shape (C', C, K_f, K_t)."""
    g = channels_last(grad_output).flatten(1, 2)
    grad = x.new_zeros(x.shape[1] * kernel[0] * kernel[1], g.shape[2], dtype=sum_type(x))
    for sample, grad_sample in zip(x, g, strict=True):
        columns = im2col(sample[None], kernel, stride, padding)
        row_lowering.add_over_samples(grad, columns, grad_sample[None])
    return grad.T.reshape(-1, x.shape[1], *kernel)


def gradients(
    x: Tensor, grad_output: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dW."""
    kernel, size = (weight.shape[2], weight.shape[3]), (x.shape[2], x.shape[3])
    return (
        row_lowering.input_gradient(grad_output, weight, size, stride, padding),
        weight_gradient(x, grad_output, kernel, stride, padding),
    )
