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

import torch
from torch import Tensor

from audio_denoising.nn.fast.tiles import (
    Tile,
    add_outer_product,
    add_product,
    lower,
    multiply,
    parts,
    tiles,
)
from audio_denoising.nn.memory import channels_last, empty, scratch
from audio_denoising.nn.module import Pair, output_size


def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """y = W * x + b. x (N, C, F, T), weight (C', C, K_f, K_t), bias (C',) -> (N, C', F', T')."""
    co, ci, kf, kt = weight.shape
    x = channels_last(x)
    fo, to = output_size((x.shape[1], x.shape[2]), (kf, kt), stride, padding)
    y = empty((len(x), fo, to, co), x)
    matrices = weight.permute(2, 3, 1, 0).reshape(kf, kt * ci, co)
    first = (weight.new_zeros(co) if bias is None else bias).repeat(to).view(to, co)
    for tile, slices in _lowered(x, (kf, kt), stride, padding, co):
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
    dw = empty((kf, kt * ci, co), x).zero_()
    for tile, slices in _lowered(x, kernel, stride, padding, co):
        grad = parts(g[tile])
        for rows, total in zip(slices, dw, strict=True):
            add_outer_product(rows, grad, total)
    return dw.view(kf, kt, ci, co).permute(3, 2, 0, 1)


def _lowered(
    x: Tensor, kernel: Pair, stride: Pair, padding: Pair, channels_out: int
) -> Iterator[tuple[Tile, list[Tensor]]]:
    """Tiles of the output, and for each the parts of x that every kernel row is multiplied with.

    Padded rows are dealt to `S_f` phases (row = S_f q + phase), so that the rows that kernel row i
    meets, i, i + S_f, i + 2 S_f, ..., are one contiguous slice of phase i mod S_f.
    """
    (kf, kt), (sf, st), (pf, pt) = kernel, stride, padding
    fo, to = output_size((x.shape[1], x.shape[2]), kernel, stride, padding)
    width = kt * x.shape[3]
    for tile in tiles(len(x), fo, to * (min(kf, sf) * width + channels_out), x.device):
        samples, rows = tile
        if kernel == stride == (1, 1) and padding == (0, 0):
            yield tile, [parts(x[tile])]
            continue
        images, count = x[samples], rows.stop - rows.start
        used = [count + (kf - 1 - phase) // sf for phase in range(min(kf, sf))]
        area = scratch((len(images), len(used), used[0], to, width), x)
        phases = [area[:, phase, :high] for phase, high in enumerate(used)]
        for phase, place in enumerate(phases):
            lower(images, place, kt, (sf * rows.start + phase - pf, sf), (-pt, st))
        yield tile, [parts(phases[i % sf][:, i // sf : i // sf + count]) for i in range(kf)]


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
    phases = _Phases(g, weight, size, stride, padding)
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
    co, ci, kf, kt = weight.shape
    size = (x.shape[2], x.shape[3])
    if stride != (1, 1):
        dx = input_gradient(grad_output, weight, size, stride, padding)
        return dx, weight_gradient(x, grad_output, (kf, kt), stride, padding)
    x, g = channels_last(x), channels_last(grad_output)
    phases = _Phases(g, weight, size, stride, padding)
    dx = empty((len(g), *size, ci), g)
    dw = empty((kf, ci, kt * co), g).zero_()
    for tile in phases.tiles():
        phases.lower(tile)
        phases.spread(tile, dx)
        pixels = parts(x[phases.rows_of_x(tile)])
        for i in range(kf):
            add_outer_product(pixels, phases.tap(i, tile[1]), dw[i])
    return dx.permute(0, 3, 1, 2), dw.view(kf, ci, kt, co).flip(2).permute(3, 1, 0, 2)


class _Phases:
    """dL/dy lowered for the gradient at the input, tile by tile, sliced by phase and tap.

    With f + P = S q + a:  dL/dx[f] = sum over m of dL/dy[q - m] W[a + S m], on both axes.
    """

    def __init__(self, g: Tensor, weight: Tensor, size: Pair, stride: Pair, padding: Pair) -> None:
        """g (N, F', T', C'), channels last; weight (C', C, K_f, K_t); size (F, T) of x."""
        co, ci, self.kf, kt = weight.shape
        (self.f, self.t), (self.sf, self.st), (self.pf, pt) = size, stride, padding
        self.g, self.co, self.ci = g, co, ci
        self.taps, self.taps_t = -(-self.kf // self.sf), -(-kt // self.st)
        # matrices[m, a] holds W[a + S m] with the phases along time side by side. Tap m looks m
        # frames back, and frames lie in ascending order. Taps that do not exist stay zero.
        matrices = weight.new_zeros(self.taps, self.sf, self.taps_t, co, self.st, ci)
        for i in range(self.kf):
            for j in range(kt):
                m, phase = divmod(j, self.st)
                place = matrices[i // self.sf, i % self.sf, self.taps_t - 1 - m]
                place[:, phase] = weight[:, :, i, j]
        self.matrices = matrices.view(self.taps, self.sf, self.taps_t * co, self.st * ci)
        self.q = range(self.pf // self.sf, (self.pf + self.f - 1) // self.sf + 1)
        self.q_t = range(pt // self.st, (pt + self.t - 1) // self.st + 1)
        self.cut = pt - self.st * self.q_t.start  # frames before t = 0

    def tiles(self) -> Iterator[Tile]:
        """Tiles of padded rows q; a tile holds rows S q - P, ..., of x."""
        values = len(self.q_t) * (self.taps_t * self.co + self.sf * self.st * self.ci)
        for samples, rows in tiles(len(self.g), len(self.q), values, self.g.device):
            yield samples, slice(self.q.start + rows.start, self.q.start + rows.stop)

    def rows_of_x(self, tile: Tile) -> Tile:
        """The same tile in x."""
        samples, q = tile
        low, high = self.sf * q.start - self.pf, self.sf * q.stop - self.pf
        return samples, slice(max(0, low), min(self.f, high))

    def lower(self, tile: Tile) -> None:
        """Makes everything that a tile depends on: rows q - m of g, for all taps m."""
        samples, q = tile
        g = self.g[samples]
        self.top = q.start - (self.taps - 1)
        shape = (len(g), q.stop - self.top, len(self.q_t), self.taps_t * self.co)
        self.rows = scratch(shape, g)
        lower(g, self.rows, self.taps_t, (self.top, 1), (self.q_t.start - self.taps_t + 1, 1))

    def tap(self, m: int, q: slice) -> Tensor:
        """The parts that tap m is multiplied with for rows q."""
        return parts(self.rows[:, q.start - m - self.top : q.stop - m - self.top])

    def spread(self, tile: Tile, x: Tensor, bias: Tensor | None = None) -> None:
        """Fills the tile of x (N, F, T, C) with the gradient, plus a bias (C,)."""
        samples, rows = tile
        for phase in range(self.sf):
            low = max(rows.start, -((phase - self.pf) // self.sf))
            high = min(rows.stop, (self.pf + self.f - 1 - phase) // self.sf + 1)
            if high <= low:
                continue
            q, first = slice(low, high), self.sf * low + phase - self.pf
            place = x[samples, first : first + self.sf * (high - low - 1) + 1 : self.sf]
            whole = self.sf == self.st == 1
            shape = (len(place), high - low, len(self.q_t), self.st * self.ci)
            out = place if whole else scratch(shape, x, "products")
            multiply(self.tap(0, q), self.matrices[0, phase], parts(out))
            for m in range(1, self.taps):
                if phase + self.sf * m < self.kf:
                    add_product(self.tap(m, q), self.matrices[m, phase], parts(out))
            if not whole:
                frames = out.view(*shape[:2], len(self.q_t) * self.st, self.ci)
                frames = frames[:, :, self.cut : self.cut + self.t]
                place.copy_(frames) if bias is None else torch.add(frames, bias, out=place)
            elif bias is not None:
                place += bias
