"""Convolution of images that are lowered along time only, channels last, tile by tile.

im2col copies every value K_f K_t times. Here only the K_t neighbours along time are gathered, so
a row of the lowered image holds `K_t C` values per frame, and the K_f kernel rows are K_f matrix
products on *overlapping slices of the same lowered rows*, each adding to the last. The lowered
rows of one tile stay in the CPU's caches, live in one shared work area, and are made again for the
weight gradient rather than kept. Images are channels-last in memory ((N, F, T, C) order behind an
(N, C, F, T) view), so a lowered row is a row of a matrix and nothing is ever transposed.

The gradient at the input is a convolution too. Write a padded position as f = S q + a: phase `a`
of the gradient is a stride-1 convolution of dL/dy with every S-th kernel tap, so there is no
scatter-add. The phases along time are computed side by side as S C output channels, which *is*
the interleaved order in memory. The same routine is the forward pass of a transposed convolution.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from audio_denoising.nn.fast.tiles import Tile, add_outer_product, lower, parts, tiles
from audio_denoising.nn.memory import channels_last, empty, scratch
from audio_denoising.nn.module import Pair, output_size


def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """y = W * x + b. x (N, C, F, T), weight (C', C, K_f, K_t), bias (C',) -> (N, C', F', T')."""
    co, ci, kf, kt = weight.shape
    size = output_size((x.shape[2], x.shape[3]), (kf, kt), stride, padding)
    matrices = weight.permute(2, 3, 1, 0).reshape(kf, kt * ci, co)
    y = _products(channels_last(x), matrices, bias, stride, (-padding[0], -padding[1]), size)
    return y.permute(0, 3, 1, 2)


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW[i] = sum over n of lowered(x)[i]^T . dL/dy, shape (C', C, K_f, K_t)."""
    (kf, kt), ci, co = kernel, x.shape[1], grad_output.shape[1]
    x, g = channels_last(x), channels_last(grad_output)
    dw = empty((kf, kt * ci, co), x).zero_()
    start, size = (-padding[0], -padding[1]), (g.shape[1], g.shape[2])
    for tile, slices in _lowered(x, kernel, stride, start, size, co):
        grad = parts(g[tile])
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

    With f + P = S q + a:  dL/dx[f] = sum over m of dL/dy[q - m] W[a + S m], on both axes. A bias
    (C,) is added when this serves as the forward pass of a transposed convolution.
    """
    co, ci, kf, kt = weight.shape
    (f, t), (sf, st), (pf, pt) = size, stride, padding
    g = channels_last(grad_output)
    # The taps in reverse, those along time by phase. Taps that do not exist stay zero.
    taps_f, taps_t = max(kf, sf), -(-kt // st)
    taps = weight.new_zeros(taps_f, taps_t, co, st, ci)
    for j in range(kt):
        m, phase = divmod(j, st)
        taps[taps_f - kf :, -1 - m, :, phase] = weight[:, :, :, j].permute(2, 0, 1).flip(0)
    matrices = taps.view(taps_f, taps_t * co, st * ci)
    bias = None if bias is None else bias.repeat(st)
    first_t, count_t = pt // st, (pt + t - 1) // st + 1 - pt // st  # q along time
    cut = pt % st  # frames before t = 0
    dx = empty((len(g), f, t, ci), g)
    for row in range(min(sf, f)):  # the first row of a phase
        q, phase = divmod(row + pf, sf)
        own = matrices[(taps_f - 1 - phase) % sf :: sf]
        start = q - len(own) + 1, first_t - taps_t + 1
        y = _products(g, own, bias, (1, 1), start, (len(range(row, f, sf)), count_t))
        if stride == (1, 1):
            dx = y
        else:
            dx[:, row::sf] = y.view(*y.shape[:2], -1, ci)[:, :, cut : cut + t]
    return dx.permute(0, 3, 1, 2)


def _products(
    x: Tensor, matrices: Tensor, bias: Tensor | None, stride: Pair, start: Pair, size: Pair
) -> Tensor:
    """Lowered rows times matrices (K_f, K_t C, C'), plus a bias (C',): (N, F', T', C').

    x is (N, F, T, C). The first window begins at `start`, which may lie outside of x; (F', T') is
    `size`.
    """
    channels = matrices.shape[2]
    y = empty((len(x), *size, channels), x)
    kernel = len(matrices), matrices.shape[1] // x.shape[3]
    for tile, slices in _lowered(x, kernel, stride, start, size, channels):
        out = parts(y[tile])
        for i, (rows, matrix) in enumerate(zip(slices, matrices, strict=True)):
            out.baddbmm_(rows, matrix.expand(len(rows), -1, -1), beta=int(i > 0))
        if bias is not None:
            out += bias
    return y


def _lowered(
    x: Tensor, kernel: Pair, stride: Pair, start: Pair, size: Pair, channels_out: int
) -> Iterator[tuple[Tile, list[Tensor]]]:
    """Tiles of the output, and for each the parts of x that every kernel row is multiplied with.

    The rows of x are dealt to `S_f` phases (row = S_f q + phase), so that the rows that kernel row
    i meets, i, i + S_f, i + 2 S_f, ..., are one contiguous slice of phase i mod S_f.
    """
    (kf, kt), (sf, st) = kernel, stride
    width = kt * x.shape[3]
    values = size[1] * (min(kf, sf) * width + channels_out)
    for tile in tiles(len(x), size[0], values, x.device):
        samples, rows = tile
        if kernel == stride == (1, 1) and start == (0, 0) and size == x.shape[1:3]:
            yield tile, [parts(x[tile])]
            continue
        images, count = x[samples], rows.stop - rows.start
        used = [count + (kf - 1 - phase) // sf for phase in range(min(kf, sf))]
        area = scratch((len(images), len(used), used[0], size[1], width), x)
        phases = [area[:, phase, :high] for phase, high in enumerate(used)]
        for phase, place in enumerate(phases):
            lower(images, place, kt, (sf * rows.start + phase + start[0], sf), (start[1], st))
        yield tile, [parts(phases[i % sf][:, i // sf : i // sf + count]) for i in range(kf)]
