"""The fast convolution: images lowered along time only, channels last, tile by tile.

im2col copies every value K_f K_t times. Here only the K_t neighbours along time are gathered, so
a row of the lowered image holds `K_t C` values per frame, and the K_f kernel rows are K_f matrix
products on *overlapping slices of the same lowered rows*, each adding to the last. The lowered
rows of one tile (see `tiles.py`) stay in the CPU's caches, live in one shared work area, and are
made again for the weight gradient rather than kept. Images are channels-last in memory
((N, F, T, C) order behind an (N, C, F, T) view), so a lowered row is a row of a matrix and nothing
is ever transposed.

The gradient at the input is a convolution too. Write a padded position as f = S q + a: phase `a`
of the gradient is a stride-1 convolution of dL/dy with every S-th kernel tap, so there is no
scatter-add. The phases along time are computed side by side as S C output channels, which *is*
the interleaved order in memory. The same routine is the forward pass of a transposed convolution.

docs/fast_convolution.md explains each trick with its measured gain.
"""

from __future__ import annotations

from torch import Tensor

from audio_denoising.nn.geometry import Pair
from audio_denoising.nn.lowering import Lowered, Phases
from audio_denoising.nn.memory import channels_last, empty
from audio_denoising.nn.tiles import add_outer_product, add_product, multiply, parts


def correlate(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
) -> Tensor:
    """y = W * x + b. x (N, C, F, T), weight (C', C, K_f, K_t), bias (C',) -> (N, C', F', T')."""
    co, ci, kf, kt = weight.shape
    x = channels_last(x)
    lowered = Lowered(x, (kf, kt), stride, padding)
    y = empty((len(x), lowered.fo, lowered.to, co), x)
    matrices = weight.permute(2, 3, 1, 0).reshape(kf, kt * ci, co)
    first = (weight.new_zeros(co) if bias is None else bias).repeat(lowered.to).view(lowered.to, co)
    for tile in lowered.tiles(co):
        slices = lowered.lower(tile)
        y[tile] = first
        out = parts(y[tile])
        for rows, matrix in zip(slices, matrices, strict=True):
            add_product(rows, matrix, out)
    return y.permute(0, 3, 1, 2)


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW[i] = sum over n of lowered(x)[i]^T . dL/dy, shape (C', C, K_f, K_t)."""
    (kf, kt), ci, co = kernel, x.shape[1], grad_output.shape[1]
    x, g = channels_last(x), channels_last(grad_output)
    lowered = Lowered(x, kernel, stride, padding)
    dw = empty((kf, kt * ci, co), x).zero_()
    for tile in lowered.tiles(co):
        slices, grad = lowered.lower(tile), parts(g[tile])
        for rows, total in zip(slices, dw, strict=True):
            add_outer_product(rows, grad, total)
    return dw.view(kf, kt, ci, co).permute(3, 2, 0, 1)


def input_gradient(
    grad_output: Tensor,
    weight: Tensor,
    size: Pair,
    stride: Pair,
    padding: Pair,
    bias: Tensor | None = None,
) -> Tensor:
    """dL/dx, shape (N, C, F, T) with (F, T) = `size`, as S_f stride-1 convolutions of dL/dy.

    A bias (C,) is added when this serves as the forward pass of a transposed convolution.
    """
    g = channels_last(grad_output)
    phases = Phases(g, weight, size, stride, padding)
    dx = empty((len(g), *size, weight.shape[1]), g)
    for tile in phases.tiles():
        phases.lower(tile)
        phases.spread(tile, dx, bias)
    return dx.permute(0, 3, 1, 2)


def gradients(
    x: Tensor, grad_output: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dW of a convolution at once.

    With stride 1 the rows that were lowered for dL/dx serve dL/dW as well, since
    dL/dW[i, j] = sum over f, t of x[f, t] dL/dy[f + P - i, t + P - j].
    """
    kernel, size = (weight.shape[2], weight.shape[3]), (x.shape[2], x.shape[3])
    if stride != (1, 1):
        dx = input_gradient(grad_output, weight, size, stride, padding)
        return dx, weight_gradient(x, grad_output, kernel, stride, padding)
    (kf, kt), ci, co = kernel, weight.shape[1], weight.shape[0]
    x, g = channels_last(x), channels_last(grad_output)
    phases = Phases(g, weight, size, stride, padding)
    dx = empty((len(g), *size, ci), g)
    dw = empty((kf, ci, kt * co), g).zero_()
    for tile in phases.tiles():
        phases.lower(tile)
        phases.spread(tile, dx)
        pixels = parts(x[phases.rows_of_x(tile)])
        for i in range(kf):
            add_outer_product(pixels, phases.slice(i, tile[1]), dw[i])
    return dx.permute(0, 3, 1, 2), dw.view(kf, ci, kt, co).flip(2).permute(3, 1, 0, 2)


def transposed_gradients(
    x: Tensor, grad_output: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dW of a transposed convolution, from one lowering of dL/dy.

    x (N, C, F, T), grad_output (N, C', F', T'), weight (C, C', K_f, K_t).
    """
    c, co, kf, kt = weight.shape
    g, x = channels_last(grad_output), channels_last(x)
    dx = empty(tuple(x.shape), g)
    dw = empty((kf, kt * co, c), g).zero_()
    matrices = weight.permute(2, 3, 1, 0).reshape(kf, kt * co, c)
    lowered = Lowered(g, (kf, kt), stride, padding)
    for tile in lowered.tiles(c):
        slices, pixels = lowered.lower(tile), parts(x[tile])
        out = parts(dx[tile])
        for i, rows in enumerate(slices):
            (add_product if i else multiply)(rows, matrices[i], out)
            add_outer_product(rows, pixels, dw[i])
    return dx.permute(0, 3, 1, 2), dw.view(kf, kt, co, c).permute(3, 2, 0, 1)
