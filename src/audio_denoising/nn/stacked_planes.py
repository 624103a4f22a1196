"""Convolution of images with few channels: the first layer of a spectrogram network.

With one channel a lowered row (see `row_lowering.py`) would be K_t values long, too short to copy
or to multiply well. A column matrix made of whole shifted planes is copied in long runs instead,
and its transpose times the kernels gives the channels-last output at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from . import row_lowering
from .geometry import Pair, output_size
from .im2col import pad
from .memory import channels_last, empty, in_type, product_type, scratch, sum_type
from .tiles import Finish, Tile, add_outer_product, add_product, parts, tiles

FEW_CHANNELS = 4


def suits(kernel: Pair, channels_in: int) -> bool:
    """Whether this is the right way for a layer of such a shape."""
    return channels_in < FEW_CHANNELS and kernel != (1, 1)


def _planes(
    x: Tensor, kernel: Pair, stride: Pair, padding: Pair, channels_out: int, like: Tensor
) -> Iterator[tuple[Tile, Tensor]]:
    """Tiles of the output, each with the planes that it depends on, in parts (`tiles.parts`).

    That is im2col of the tile; planes first in memory, positions last; in the type of `like`.
    """
    (kf, kt), (sf, st) = kernel, stride
    fo, to = output_size((x.shape[2], x.shape[3]), kernel, stride, padding)
    x = pad(x, padding)
    by_n, by_c, by_f, by_t = x.stride()
    count = x.shape[1] * kf * kt
    for tile in tiles(len(x), fo, to * (count + channels_out), x.device):
        part = x[tile[0], :, sf * tile[1].start :]
        shape = (len(part), x.shape[1], kf, kt, tile[1].stop - tile[1].start, to)
        strides = (by_n, by_c, by_f, by_t, sf * by_f, st * by_t)
        planes = scratch(shape, like)
        planes.copy_(part.as_strided(shape, strides, part.storage_offset()))
        yield tile, parts(planes.flatten(1, 3).permute(0, 2, 3, 1))


def correlate(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    finish: Finish | None = None,
) -> Tensor:
    """y = W * x + b. x (N, C, F, T), weight (C', C, K_f, K_t), bias (C',) -> (N, C', F', T')."""
    kernel = (weight.shape[2], weight.shape[3])
    size = output_size((x.shape[2], x.shape[3]), kernel, stride, padding)
    matrix = weight.flatten(1).T
    y = empty((len(x), *size, len(weight)), x)
    for tile, planes in _planes(x, kernel, stride, padding, len(weight), weight):
        place = y[tile]
        same = y.dtype == weight.dtype
        out = place if same else scratch(tuple(place.shape), weight, "products")
        out.copy_(bias) if bias is not None else out.zero_()
        add_product(planes, matrix, parts(out))
        if finish is not None:
            finish(out)
        if not same:
            place.copy_(out)
    return y.permute(0, 3, 1, 2)


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW = sum over n of im2col(x) . dL/dy, shape (C', C, K_f, K_t)."""
    g = channels_last(grad_output)
    like = x.new_empty(0, dtype=product_type(x))
    grad = x.new_zeros(x.shape[1] * kernel[0] * kernel[1], g.shape[3], dtype=sum_type(x))
    for tile, planes in _planes(x, kernel, stride, padding, g.shape[3], like):
        add_outer_product(planes, parts(in_type(g[tile], like, "pixels")), grad)
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
