"""Winograd's convolution F(4x4, 3x3): 4 x 4 outputs for 36 multiplications, not 144.

A tile of 6 x 6 pixels holds all that 4 x 4 outputs depend on. In a transformed basis the 3x3 kernel
acts on it value by value:

    y = A^T [ (G w G^T) . (B^T d B) ] A        d tile of x,  w 3x3 kernel,  y 4x4 outputs

With many channels the product at each of the 36 points is a matrix product over channels, so one
batched product does 4 times less work than im2col. The transforms are sums of shifted slices, cheap
beside the products when there are many channels. Every backward pass is the adjoint of its forward
one: A for A^T, B for B^T, G^T for G.

Winograd, "Arithmetic complexity of computations", 1980; Lavin and Gray, "Fast algorithms for
convolutional neural networks", CVPR 2016 (arXiv:1509.09308), section 4. Rounding errors are larger
than those of a direct convolution: about 1e-6 relative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from audio_denoising.nn.fast.tiles import Tile, tiles
from audio_denoising.nn.memory import channels_last, empty, scratch
from audio_denoising.nn.module import Pair, output_size

LARGEST_KERNEL = 1 << 22  # values of a transformed kernel; its gradient takes as much again
STEP, EDGE = 4, 6  # a tile is 6 pixels long and starts every 4

Combination = tuple[tuple[float, int], ...]  # a sum of (coefficient, index of a source)

# Kernel and image are polynomials, multiplied at the points 0, 1, -1, 2, -2 and infinity and put
# together again. The points +p and -p share their terms: one is e + p o, the other e - p o, with
# the even and the odd powers of p. So B^T below has the rows of e and o in place of those of +p and
# -p, A^T their columns, and each pair is (index of +p, index of -p, p).
PAIRS = ((1, 2, 1.0), (3, 4, 2.0))
G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
B_T = (
    (4, 0, -5, 0, 1, 0),
    (0, 0, -4, 0, 1, 0),
    (0, -4, 0, 1, 0, 0),
    (0, 0, -1, 0, 1, 0),
    (0, -1, 0, 1, 0, 0),
    (0, 4, 0, -5, 0, 1),
)
A_T = ((1, 1, 0, 1, 0, 0), (0, 0, 1, 0, 1, 0), (0, 1, 0, 4, 0, 0), (0, 0, 1, 0, 4, 1))


def _combinations(matrix: Sequence[Sequence[float]]) -> tuple[Combination, ...]:
    """Each row of a matrix as a sum over its entries, those with coefficient 1 first."""
    return tuple(
        tuple(sorted(((c, i) for i, c in enumerate(row) if c), key=lambda term: term[0] != 1))
        for row in matrix
    )


def _from_pairs(matrix: Sequence[Sequence[float]]) -> tuple[Combination, ...]:
    """The same of a matrix whose columns are those of e and o, for sources that are (+, -).

    The adjoint of (e, o) -> (e + p o, e - p o) is (+, -) -> (sum, p times difference).
    """
    scale = {minus: p for _, minus, p in PAIRS}
    return _combinations([[scale.get(k, 1) * c for k, c in enumerate(row)] for row in matrix])


TO_POINTS = _combinations(B_T)
FROM_POINTS = _from_pairs(A_T)
SPREAD_OUTPUT = _combinations(list(zip(*A_T, strict=True)))  # the adjoint of FROM_POINTS
SPREAD_INPUT = _from_pairs(list(zip(*B_T, strict=True)))  # the adjoint of TO_POINTS


def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """y = W * x + b. x (N, C, F, T), weight (C', C, 3, 3), bias (C',) -> (N, C', F', T')."""
    x = channels_last(x)
    tiled = _Tiles(x, len(weight), padding)
    u = _transform_kernel(weight)
    y = empty((len(x), tiled.fo, tiled.to, tiled.co), x)
    for chunk in tiled.chunks:
        tiled.start(chunk, weight)
        tiled.transform_input(x)
        torch.bmm(tiled.v, u, out=tiled.m)
        if bias is not None:  # the sum of the output's transform is the point (1, 1) times ones
            tiled.m[EDGE + 1] += bias
        tiled.transform_output(y)
    return y.permute(0, 3, 1, 2)


def gradients(
    x: Tensor, grad_output: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> tuple[Tensor, Tensor]:
    """dL/dx = B [(A dL/dy A^T) u^T] B^T and dL/dW = G^T [v^T (A dL/dy A^T)] G.

    A large kernel is dealt with for a few output channels at a time.
    """
    pieces = math.ceil(EDGE**2 * weight.shape[0] * weight.shape[1] / LARGEST_KERNEL)
    size = math.ceil(len(weight) / pieces)
    x, g = channels_last(x), channels_last(grad_output)
    dw = empty((3, 3, x.shape[3], len(weight)), weight)
    dx: Tensor | None = None
    for first in range(0, len(weight), size):
        some = slice(first, first + size)
        part, dw[..., some] = _gradients(x, g[..., some], weight[some], padding)
        dx = part if dx is None else dx.add_(part)
    assert dx is not None
    return dx.permute(0, 3, 1, 2), dw.permute(3, 2, 0, 1)


def _gradients(x: Tensor, g: Tensor, weight: Tensor, padding: Pair) -> tuple[Tensor, Tensor]:
    """Of x (N, F, T, C) and the weight, (3, 3, C, C'); g (N, F', T', C')."""
    tiled = _Tiles(x, len(weight), padding)
    u = _transform_kernel(weight)
    du, dx = empty(tuple(u.shape), u), empty(tuple(x.shape), x)
    for i, chunk in enumerate(tiled.chunks):
        tiled.start(chunk, weight)
        tiled.transform_input(x)
        tiled.spread_output(g)
        torch.baddbmm(du, tiled.v.transpose(1, 2), tiled.m, beta=int(i > 0), out=du)
        torch.bmm(tiled.m, u.transpose(1, 2), out=tiled.v)
        tiled.spread_input(dx)
    return dx, (_kernel_map(u).T @ du.flatten(1)).view(3, 3, tiled.ci, tiled.co)


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW alone, shape (C', C, 3, 3)."""
    weight = x.new_zeros(grad_output.shape[1], x.shape[1], 3, 3)
    return gradients(x, grad_output, weight, stride, padding)[1]


def _kernel_map(like: Tensor) -> Tensor:
    """The Kronecker product of G with itself: G w G^T for w written as a column of 9."""
    g = torch.tensor(G, dtype=like.dtype, device=like.device)
    return torch.kron(g, g)


def _transform_kernel(weight: Tensor) -> Tensor:
    """(C', C, 3, 3) -> u (points, C, C') = G w G^T."""
    co, ci = weight.shape[:2]
    columns = weight.permute(2, 3, 1, 0).reshape(9, ci * co)
    u = empty((EDGE**2, ci * co), weight)
    return torch.mm(_kernel_map(weight), columns, out=u).view(-1, ci, co)


class _Tiles:
    """How the images of one layer are cut into tiles of 4 x 4 outputs, and their transforms.

    A chunk is a few rows of tiles, of one image or of several. Its work areas are `v` (points,
    tiles, C) and `m` (points, tiles, C') for the products, `image` (n, 4 R + 2, 4 Q + 2, C) for
    the padded image, and `half` for what is transformed along one axis only.
    """

    def __init__(self, x: Tensor, channels_out: int, padding: Pair) -> None:
        """x (N, F, T, C), channels last."""
        self.count, self.f, self.t, self.ci = x.shape
        self.co = channels_out
        self.pf, self.pt = padding
        self.fo, self.to = output_size((self.f, self.t), (3, 3), (1, 1), padding)
        self.tt = -(-self.to // STEP)
        # Of v and m, which are not all needed at once, only a quarter has to fit the caches.
        values = EDGE**2 * self.tt * (self.ci + self.co) // 4
        self.chunks = tiles(self.count, -(-self.fo // STEP), values, x.device)

    def start(self, chunk: Tile, like: Tensor) -> None:
        """Sets up the work areas for a chunk (and ends the life of the ones before)."""
        self.samples, rows = chunk
        self.n, self.r = len(range(self.count)[self.samples]), rows.stop - rows.start
        self.first, self.width = STEP * rows.start, STEP * self.tt + 2
        count, wide = self.n * self.r * self.tt, max(self.ci, self.co)
        shapes: list[tuple[int, ...]] = [
            (EDGE**2, count, self.ci),
            (EDGE**2, count, self.co),
            (self.n, STEP * self.r + 2, self.width, self.ci),
            (EDGE * self.n * self.r * self.width * wide,),
        ]
        counts = [math.prod(shape) for shape in shapes]
        areas = scratch((sum(counts),), like).split(counts)
        self.v, self.m, self.image, self.half = (
            area.view(shape) for area, shape in zip(areas, shapes, strict=True)
        )

    def _half(self, *shape: int) -> Tensor:
        return self.half[: math.prod(shape)].view(shape)

    def _points(self, area: Tensor) -> Tensor:
        return area.view(EDGE, EDGE, self.n, self.r, self.tt, area.shape[2])

    def _output_rows(self, y: Tensor) -> Tensor:
        """The rows of y (N, F', T', C') that the chunk makes."""
        return y[self.samples, self.first : self.first + STEP * self.r]

    def _places(self) -> tuple[slice, slice, slice]:
        """Where the image lies: its rows in x, these rows and all frames in `image`."""
        top = self.first - self.pf  # of the padded image, as a row of x
        low, high = max(0, top), min(self.f, top + STEP * self.r + 2)
        return slice(low, high), slice(low - top, high - top), slice(self.pt, self.pt + self.t)

    def transform_input(self, x: Tensor) -> None:
        """v = B^T d B for every tile d of x (N, F, T, C)."""
        rows, f, t = self._places()
        image, half = self.image, self._half(EDGE, self.n, self.r, self.width, self.ci)
        image[:, : f.start] = 0
        image[:, f.stop :] = 0
        image[:, f, : t.start] = 0
        image[:, f, t.stop :] = 0
        image[:, f, t] = x[self.samples, rows]
        lines = [image[:, i : i + STEP * (self.r - 1) + 1 : STEP] for i in range(EDGE)]
        columns = [half[:, :, :, j : j + STEP * (self.tt - 1) + 1 : STEP] for j in range(EDGE)]
        _to_points(TO_POINTS, lines, half.unbind(0))
        _to_points(TO_POINTS, columns, self._points(self.v).unbind(1))

    def transform_output(self, y: Tensor) -> None:
        """y (N, F', T', C') = A^T m A."""
        y = self._output_rows(y)
        half = self._half(STEP, EDGE, self.n, self.r, self.tt, self.co)
        lines, columns = self._points(self.m).unbind(0), half.unbind(1)
        _add_and_subtract(lines)
        for i, combination in enumerate(FROM_POINTS):
            _combine(combination, lines, half[i])
        _add_and_subtract(columns)
        whole = (self.n, STEP * self.r, STEP * self.tt, self.co)
        even = y if y.shape == whole else scratch(whole, half, "outputs")
        by_row = even.unflatten(1, (self.r, STEP)).movedim(2, 0)
        for j, combination in enumerate(FROM_POINTS):
            _combine(combination, columns, by_row[:, :, :, j::STEP])
        if even is not y:
            y.copy_(even[:, : y.shape[1], : y.shape[2]])

    def spread_output(self, g: Tensor) -> None:
        """The adjoint of `transform_output`: m = A g A^T, patch by patch of g (N, F', T', C')."""
        g = self._output_rows(g)
        whole = (STEP * self.r, STEP * self.tt)
        if g.shape[1:3] != whole:
            even = scratch((self.n, *whole, self.co), self.m, "outputs").zero_()
            even[:, : g.shape[1], : g.shape[2]] = g
            g = even
        half = self._half(EDGE, self.n, self.r, whole[1], self.co)
        lines = [g[:, i::STEP] for i in range(STEP)]
        columns = [half[:, :, :, j::STEP] for j in range(STEP)]
        _to_points(SPREAD_OUTPUT, lines, half.unbind(0))
        _to_points(SPREAD_OUTPUT, columns, self._points(self.m).unbind(1))

    def spread_input(self, dx: Tensor) -> None:
        """The adjoint of `transform_input`: dx (N, F, T, C) = B v B^T, added where tiles meet."""
        half = self._half(EDGE, self.n, self.r, self.width, self.ci)
        _spread(self._points(self.v).unbind(1), half, 3)
        _spread(half.unbind(0), self.image, 1)
        rows, f, t = self._places()
        dx, image = dx[self.samples, rows], self.image[:, f, t]
        shared = max(0, 2 - f.start) if self.first else 0  # with the chunk above
        dx[:, :shared] += image[:, :shared]
        dx[:, shared:] = image[:, shared:]


def _combine(combination: Combination, sources: Sequence[Tensor], out: Tensor) -> None:
    """out = the sum of coefficient times source."""
    (first, i), *rest = combination
    if first != 1:
        torch.mul(sources[i], first, out=out)
    elif rest:
        (second, j), *rest = rest
        torch.add(sources[i], sources[j], alpha=second, out=out)
    else:
        out.copy_(sources[i])
    for coefficient, j in rest:
        out.add_(sources[j], alpha=coefficient)


def _to_points(
    combinations: Sequence[Combination], sources: Sequence[Tensor], out: Sequence[Tensor]
) -> None:
    """out = the points, of which those of a pair are e and o at first."""
    for combination, place in zip(combinations, out, strict=True):
        _combine(combination, sources, place)
    for plus, minus, p in PAIRS:  # e, o -> e + p o, e - p o
        out[plus].add_(out[minus], alpha=p)
        torch.sub(out[plus], out[minus], alpha=2 * p, out=out[minus])


def _add_and_subtract(points: Sequence[Tensor]) -> None:
    """+, - -> their sum, their difference, in place; before FROM_POINTS and SPREAD_INPUT."""
    for plus, minus, _ in PAIRS:
        points[plus].add_(points[minus])
        torch.sub(points[plus], points[minus], alpha=2, out=points[minus])


def _spread(points: Sequence[Tensor], out: Tensor, axis: int) -> None:
    """out = B points along one axis of `out`, summed where neighbouring tiles overlap.

    A tile is 6 long and starts every 4 pixels: its last two meet the first two of the next.
    """
    _add_and_subtract(points)
    out, points = out.movedim(axis, 0), [point.movedim(axis, 0) for point in points]
    count = len(points[0])
    shared = scratch(tuple(points[0].shape), out, "shared")
    for j, combination in enumerate(SPREAD_INPUT):
        place = out[j : j + STEP * (count - 1) + 1 : STEP]
        if j < STEP:
            _combine(combination, points, place)
        else:
            _combine(combination, points, shared)
            place[:-1] += shared[:-1]
            place[-1] = shared[-1]
