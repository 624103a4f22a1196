"""Winograd's convolution F(m x m, 3x3): m x m outputs for (m + 2)^2 multiplications, not 9 m^2.

A tile of (m + 2) x (m + 2) pixels holds all that m x m outputs depend on. In a transformed basis
the 3x3 kernel acts on it value by value:

    y = A^T [ (G w G^T) . (B^T d B) ] A        d tile of x,  w 3x3 kernel,  y m x m outputs

With many channels the product at each of the (m + 2)^2 points is a matrix product over channels,
so one batched product does 4 times less work than im2col for m = 4, and 2.25 times less for m = 2.
The transforms are sums of shifted slices, cheap beside the products when there are many channels.
Every backward pass is the adjoint of its forward one: A for A^T, B for B^T, G^T for G.

Winograd, "Arithmetic complexity of computations", 1980; Lavin and Gray, "Fast algorithms for
convolutional neural networks", CVPR 2016 (arXiv:1509.09308), section 4. Rounding errors are
larger than those of a direct convolution: about 3e-7 relative for m = 2 and 1e-6 for m = 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from audio_denoising.nn.geometry import Pair, output_size
from audio_denoising.nn.memory import channels_last, empty, scratch
from audio_denoising.nn.tiles import Tile, tiles
from audio_denoising.nn.winograd_basis import FOUR, TWO, Basis, combine

LARGEST_KERNEL = 1 << 22  # values of a transformed kernel; its gradient takes as much again
FEWEST_CHANNELS = 64  # below, the transforms cost too much
FEWEST_TILES = 128  # of 4x4 outputs: with fewer, 36 transformed kernels cost more than they save


def suits(kernel: Pair, stride: Pair, channels_in: int, channels_out: int) -> bool:
    """Whether this algorithm is the right one for a layer of such a shape."""
    return (
        kernel == (3, 3) and stride == (1, 1) and min(channels_in, channels_out) >= FEWEST_CHANNELS
    )


class _Tiles:
    """How the images of one layer are cut into tiles of m x m outputs, and their transforms.

    A chunk is a few rows of tiles, of one image or of several. Its work areas are `v` (points,
    tiles, C) and `m` (points, tiles, C') for the products, `image` (n, m R + 2, m Q + 2, C) for
    the padded image, and `half` for what is transformed along one axis only.
    """

    def __init__(self, x: Tensor, channels_out: int, padding: Pair) -> None:
        """x (N, F, T, C), channels last."""
        self.count, self.f, self.t, self.ci = x.shape
        self.co = channels_out
        self.pf, self.pt = padding
        self.fo, self.to = output_size((self.f, self.t), (3, 3), (1, 1), padding)
        self.basis = (
            FOUR if self.count * -(-self.fo // 4) * -(-self.to // 4) >= FEWEST_TILES else TWO
        )
        self.step, self.edge = self.basis.m, self.basis.m + 2
        self.tf, self.tt = -(-self.fo // self.step), -(-self.to // self.step)
        # Of v and m, which are not all needed at once, only a quarter has to fit the caches.
        values = self.edge**2 * self.tt * (self.ci + self.co) // 4
        self.chunks = tiles(self.count, self.tf, values, x.device)

    def start(self, chunk: Tile, like: Tensor) -> None:
        """Sets up the work areas for a chunk (and ends the life of the ones before)."""
        samples, rows = chunk
        self.n, self.r = len(range(self.count)[samples]), rows.stop - rows.start
        self.samples, self.first = samples, self.step * rows.start
        count, wide = self.n * self.r * self.tt, max(self.ci, self.co)
        self.width = self.step * self.tt + 2
        shapes: list[tuple[int, ...]] = [
            (self.edge**2, count, self.ci),
            (self.edge**2, count, self.co),
            (self.n, self.step * self.r + 2, self.width, self.ci),
            (self.edge * self.n * self.r * self.width * wide,),
        ]
        counts = [torch.Size(shape).numel() for shape in shapes]
        areas = scratch((sum(counts),), like).split(counts)
        self.v, self.m, self.image, self.half = (
            area.view(shape) for area, shape in zip(areas, shapes, strict=True)
        )

    def _half(self, *shape: int) -> Tensor:
        return self.half[: torch.Size(shape).numel()].view(shape)

    def _points(self, area: Tensor) -> Tensor:
        return area.view(self.edge, self.edge, self.n, self.r, self.tt, area.shape[2])

    def output_rows(self, y: Tensor) -> Tensor:
        """The rows of y (N, F', T', C') that the chunk makes."""
        return y[self.samples, self.first : self.first + self.step * self.r]

    def _places(self) -> tuple[slice, slice, slice]:
        """Where the image lies: its rows in x, these rows and all frames in `image`."""
        top = self.first - self.pf  # of the padded image, as a row of x
        low, high = max(0, top), min(self.f, top + self.step * self.r + 2)
        return slice(low, high), slice(low - top, high - top), slice(self.pt, self.pt + self.t)

    def transform_input(self, x: Tensor) -> None:
        """v = B^T d B for every tile d of x (N, F, T, C)."""
        rows, f, t = self._places()
        image, half = self.image, self._half(self.edge, self.n, self.r, self.width, self.ci)
        image[:, : f.start] = 0
        image[:, f.stop :] = 0
        image[:, f, : t.start] = 0
        image[:, f, t.stop :] = 0
        image[:, f, t] = x[self.samples, rows]
        step, points = self.step, self._points(self.v)
        lines = [image[:, i : i + step * (self.r - 1) + 1 : step] for i in range(self.edge)]
        columns = [half[:, :, :, j : j + step * (self.tt - 1) + 1 : step] for j in range(self.edge)]
        self.basis.map_to_points(self.basis.to_points, lines, half.unbind(0))
        self.basis.map_to_points(self.basis.to_points, columns, points.unbind(1))

    def transform_output(self, y: Tensor) -> None:
        """y (N, F', T', C') = A^T m A."""
        y, points = self.output_rows(y), self._points(self.m)
        half = self._half(self.step, self.edge, self.n, self.r, self.tt, self.co)
        lines, columns = points.unbind(0), half.unbind(1)
        self.basis.add_and_subtract(lines)
        for i, combination in enumerate(self.basis.from_points):
            combine(combination, lines, half[i])
        self.basis.add_and_subtract(columns)
        whole = (self.n, self.step * self.r, self.step * self.tt, self.co)
        even = y if y.shape == whole else scratch(whole, half, "outputs")
        by_row = even.unflatten(1, (self.r, self.step)).movedim(2, 0)
        for j, combination in enumerate(self.basis.from_points):
            combine(combination, columns, by_row[:, :, :, j :: self.step])
        if even is not y:
            y.copy_(even[:, : y.shape[1], : y.shape[2]])

    def spread_output(self, g: Tensor) -> None:
        """The adjoint of `transform_output`: m = A g A^T, patch by patch of g (N, F', T', C')."""
        g = self.output_rows(g)
        whole = (self.step * self.r, self.step * self.tt)
        if g.shape[1:3] != whole:
            even = scratch((self.n, *whole, self.co), self.m, "outputs").zero_()
            even[:, : g.shape[1], : g.shape[2]] = g
            g = even
        half = self._half(self.edge, self.n, self.r, whole[1], self.co)
        lines = [g[:, i :: self.step] for i in range(self.step)]
        columns = [half[:, :, :, j :: self.step] for j in range(self.step)]
        points = self._points(self.m)
        self.basis.map_to_points(self.basis.adjoint_of_from, lines, half.unbind(0))
        self.basis.map_to_points(self.basis.adjoint_of_from, columns, points.unbind(1))

    def spread_input(self, dx: Tensor) -> None:
        """The adjoint of `transform_input`: dx (N, F, T, C) = B v B^T, added where tiles meet."""
        half = self._half(self.edge, self.n, self.r, self.width, self.ci)
        points = self._points(self.v)
        _spread(self.basis, points.unbind(1), half, 3)
        _spread(self.basis, half.unbind(0), self.image, 1)
        rows, f, t = self._places()
        dx, image = dx[self.samples, rows], self.image[:, f, t]
        shared = max(0, 2 - f.start) if self.first else 0  # with the chunk above
        dx[:, :shared] += image[:, :shared]
        dx[:, shared:] = image[:, shared:]


def _spread(basis: Basis, points: Sequence[Tensor], out: Tensor, axis: int) -> None:
    """out = B points along one axis of `out`, summed where neighbouring tiles overlap.

    A tile is m + 2 long and starts every m pixels: its last two meet the first two of the next.
    """
    basis.add_and_subtract(points)
    out, points = out.movedim(axis, 0), [point.movedim(axis, 0) for point in points]
    step, count = basis.m, len(points[0])
    shared = scratch(tuple(points[0].shape), out, "shared")
    for j, combination in enumerate(basis.adjoint_of_to):
        place = out[j : j + step * (count - 1) + 1 : step]
        if j < step:
            combine(combination, points, place)
        else:
            combine(combination, points, shared)
            place[:-1] += shared[:-1]
            place[-1] = shared[-1]


def correlate(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
) -> Tensor:
    """y = W * x + b. x (N, C, F, T), weight (C', C, 3, 3), bias (C',) -> (N, C', F', T')."""
    x = channels_last(x)
    tiled = _Tiles(x, weight.shape[0], padding)
    u = _transform_kernel(tiled.basis, weight)
    y = empty((len(x), tiled.fo, tiled.to, tiled.co), x)
    for chunk in tiled.chunks:
        tiled.start(chunk, weight)
        tiled.transform_input(x)
        torch.bmm(tiled.v, u, out=tiled.m)
        if bias is not None:  # the sum of the output's transform is the point (1, 1) times ones
            tiled.m[tiled.edge + 1] += bias
        tiled.transform_output(y)
    return y.permute(0, 3, 1, 2)


def _transform_kernel(basis: Basis, weight: Tensor) -> Tensor:
    """(C', C, 3, 3) -> u (points, C, C') = G w G^T."""
    co, ci = weight.shape[:2]
    columns = weight.permute(2, 3, 1, 0).reshape(9, ci * co)
    u = empty(((basis.m + 2) ** 2, ci * co), weight)
    return torch.mm(basis.kernels(weight), columns, out=u).view(-1, ci, co)


def gradients(
    x: Tensor, grad_output: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> tuple[Tensor, Tensor]:
    """dL/dx = B [(A dL/dy A^T) u^T] B^T and dL/dW = G^T [v^T (A dL/dy A^T)] G."""
    x, g = channels_last(x), channels_last(grad_output)
    tiled = _Tiles(x, weight.shape[0], padding)
    pieces = math.ceil(tiled.edge**2 * weight.shape[0] * weight.shape[1] / LARGEST_KERNEL)
    if pieces > 1:
        return _gradients_in_pieces(pieces, x, g, weight, padding)
    u = _transform_kernel(tiled.basis, weight)
    du = empty(tuple(u.shape), u)
    dx = empty(tuple(x.shape), x)
    for i, chunk in enumerate(tiled.chunks):
        tiled.start(chunk, weight)
        tiled.transform_input(x)
        tiled.spread_output(g)
        torch.baddbmm(du, tiled.v.transpose(1, 2), tiled.m, beta=int(i > 0), out=du)
        torch.bmm(tiled.m, u.transpose(1, 2), out=tiled.v)
        tiled.spread_input(dx)
    dw = empty((3, 3, tiled.ci, tiled.co), u)
    torch.mm(tiled.basis.kernels(weight).T, du.flatten(1), out=dw.view(9, -1))
    return dx.permute(0, 3, 1, 2), dw.permute(3, 2, 0, 1)


def _gradients_in_pieces(
    pieces: int, x: Tensor, g: Tensor, weight: Tensor, padding: Pair
) -> tuple[Tensor, Tensor]:
    """`gradients` for a few output channels at a time; x, g (N, F, T, channels)."""
    size = math.ceil(len(weight) / pieces)
    x = x.permute(0, 3, 1, 2)
    dx, dw = None, empty((3, 3, weight.shape[1], len(weight)), weight).permute(3, 2, 0, 1)
    for part, kernels, out in zip(
        g.split(size, 3), weight.split(size), dw.split(size), strict=True
    ):
        part_dx, part_dw = gradients(x, part.permute(0, 3, 1, 2), kernels, (1, 1), padding)
        out.copy_(part_dw)
        dx = part_dx if dx is None else dx.add_(part_dx)
    assert dx is not None
    return dx, dw


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW alone, shape (C', C, 3, 3)."""
    weight = x.new_zeros(grad_output.shape[1], x.shape[1], 3, 3)
    return gradients(x, grad_output, weight, stride, padding)[1]
