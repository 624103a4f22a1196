"""Winograd's convolution F(2x2, 3x3): four outputs for 16 multiplications instead of 36.

A 4x4 tile of the image holds all that a 2x2 patch of the output depends on. In a transformed
basis the 3x3 kernel acts on it value by value:

    y = A^T [ (G w G^T) . (B^T d B) ] A        d 4x4 tile of x,  w 3x3 kernel,  y 2x2 outputs

With many channels the product at each of the 16 points is a matrix product over channels, so one
batched product of 16 matrices does 2.25 times less work than im2col. The transforms are sums of
shifted slices, cheap beside the products when there are many channels. Every backward pass is the
adjoint of its forward one: A for A^T, B for B^T, G^T for G.

Winograd, "Arithmetic complexity of computations", 1980; Lavin and Gray, "Fast algorithms for
convolutional neural networks", CVPR 2016 (arXiv:1509.09308), section 4.1. Rounding errors are a
few times larger than those of a direct convolution, and still below 1e-6 relative in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .geometry import Pair, output_size
from .memory import channels_last, empty, scratch

FEWEST_CHANNELS = 64, 192  # in the thinner tensor, in both: below, the transforms cost too much
WORK_AREA = 1 << 20  # values of one transformed batch of samples: what the CPU's caches hold


def suits(kernel: Pair, stride: Pair, channels_in: int, channels_out: int) -> bool:
    """Whether this algorithm is the right one for a layer of such a shape."""
    return (
        kernel == (3, 3)
        and stride == (1, 1)
        and min(channels_in, channels_out) >= FEWEST_CHANNELS[0]
        and channels_in + channels_out >= FEWEST_CHANNELS[1]
    )


class _Tiles:
    """How the images of one layer are cut into tiles; all transforms, and where they work.

    Per chunk of n samples there are four work areas: `v` (16, n tiles, C) and `m` (16, n tiles, C')
    for the points, `image` (n, 2 F_tiles + 2, 2 T_tiles + 2, C) for the padded image, and `half`
    for what is transformed along one axis only.
    """

    def __init__(self, x: Tensor, channels_out: int, padding: Pair) -> None:
        """x (N, F, T, C), channels last."""
        _, self.f, self.t, self.ci = x.shape
        self.co = channels_out
        self.pf, self.pt = padding
        self.fo, self.to = output_size((self.f, self.t), (3, 3), (1, 1), padding)
        self.tf, self.tt = -(-self.fo // 2), -(-self.to // 2)
        per_sample = 16 * self.tf * self.tt * max(self.ci, self.co)
        self.at_once = max(1, WORK_AREA // per_sample) if x.device.type == "cpu" else len(x)

    def chunk(self, like: Tensor, n: int) -> None:
        """Sets up the work areas for n samples (and ends the life of the ones before)."""
        self.n = n
        tiles, wide = self.tf * self.tt, max(self.ci, self.co)
        shapes = [
            (16, n * tiles, self.ci),
            (16, n * tiles, self.co),
            (n, 2 * self.tf + 2, 2 * self.tt + 2, self.ci),
            (4 * n * self.tf * (2 * self.tt + 2) * wide,),
        ]
        counts = [torch.Size(shape).numel() for shape in shapes]
        areas = scratch((sum(counts),), like).split(counts)
        self.v, self.m, self.image, self.half = (
            area.view(shape) for area, shape in zip(areas, shapes, strict=True)
        )

    def _half(self, *shape: int) -> Tensor:
        return self.half[: torch.Size(shape).numel()].view(shape)

    def _input_half(self) -> Tensor:
        return self._half(4, self.n, self.tf, 2 * self.tt + 2, self.ci)

    def _points(self, area: Tensor) -> Tensor:
        return area.view(4, 4, self.n, self.tf, self.tt, area.shape[2])

    def transform_input(self, x: Tensor) -> None:
        """v = B^T d B for every tile d of x (n, F, T, C)."""
        image, half, points = self.image, self._input_half(), self._points(self.v)
        f, t = slice(self.pf, self.pf + self.f), slice(self.pt, self.pt + self.t)
        image[:, : f.start] = 0
        image[:, f.stop :] = 0
        image[:, f, : t.start] = 0
        image[:, f, t.stop :] = 0
        image[:, f, t] = x
        _differences([image[:, i : i + 2 * self.tf : 2] for i in range(4)], half)
        for row, out in zip(half, points, strict=True):
            _differences([row[:, :, j : j + 2 * self.tt : 2] for j in range(4)], out)

    def spread_input(self, dx: Tensor) -> None:
        """dx (n, F, T, C) = sum of B v B^T where tiles overlap: the adjoint of the above."""
        half = self._input_half()
        for out, row in zip(half, self._points(self.v), strict=True):
            _overlap(row, out, axis=2)
        _overlap(half, self.image, axis=1)
        dx.copy_(self.image[:, self.pf : self.pf + self.f, self.pt : self.pt + self.t])

    def transform_output(self, y: Tensor) -> None:
        """y (n, F', T', C') = A^T m A."""
        m, rows = self._points(self.m), self._half(2, 4, self.n, self.tf, self.tt, self.co)
        torch.add(m[0], m[1], out=rows[0]).add_(m[2])
        torch.sub(m[1], m[2], out=rows[1]).sub_(m[3])
        for a, (r0, r1, r2, r3) in enumerate(rows):
            even, odd = y[:, a::2, 0::2], y[:, a::2, 1::2]
            f, t = even.shape[1:3]
            torch.add(r0[:, :f, :t], r1[:, :f, :t], out=even).add_(r2[:, :f, :t])
            t = odd.shape[2]
            torch.sub(r1[:, :f, :t], r2[:, :f, :t], out=odd).sub_(r3[:, :f, :t])

    def spread_output(self, g: Tensor) -> None:
        """m = A g A^T for every 2x2 patch of g (n, F', T', C'): the adjoint of the above."""
        if (self.fo, self.to) != (2 * self.tf, 2 * self.tt):
            even = g.new_zeros(self.n, 2 * self.tf, 2 * self.tt, self.co)
            even[:, : self.fo, : self.to] = g
            g = even
        rows = self._half(2, self.n, self.tf, 2 * self.tt, self.co)
        g0, g1 = g[:, 0::2], g[:, 1::2]
        torch.add(g0, g1, out=rows[0])
        torch.sub(g0, g1, out=rows[1])
        for point, row in zip(self._points(self.m), (g0, rows[0], rows[1], g1), strict=True):
            left, right = row[:, :, 0::2], row[:, :, 1::2]
            point[0] = left
            torch.add(left, right, out=point[1])
            torch.sub(left, right, out=point[2])
            point[3] = right
        # A's last row is (0, -1): both signs at once, after the fact.
        self._points(self.m)[3, :3].neg_()
        self._points(self.m)[:3, 3].neg_()


def _differences(d: list[Tensor], out: Tensor) -> None:
    """out = B^T d along one axis, from its four shifted slices."""
    torch.sub(d[0], d[2], out=out[0])
    torch.add(d[1], d[2], out=out[1])
    torch.sub(d[2], d[1], out=out[2])
    torch.sub(d[1], d[3], out=out[3])


def _overlap(e: Tensor, out: Tensor, axis: int) -> None:
    """out = B e along one axis of `out`, summed where neighbouring tiles overlap.

    A tile is 4 long and starts every 2 pixels: out[2 q] meets point 0 of tile q and point 2 of
    tile q - 1, out[2 q + 1] meets points 1 and 3.
    """
    out = out.movedim(axis, 0) if e.dim() == out.dim() + 1 else out.movedim(axis + 1, 0)
    e0, e1, e2, e3 = (point.movedim(axis, 0) for point in e)
    even, odd = out[0::2], out[1::2]
    torch.sub(e1, e0, out=even[1:]).add_(e2)
    even[0] = 0
    even[:-1].add_(e0)
    torch.neg(e3, out=odd[1:])
    odd[0] = 0
    odd[:-1].add_(e1).sub_(e2).add_(e3)


def _basis(like: Tensor) -> Tensor:
    """The Kronecker product of G (4, 3) with itself (16, 9): G w G^T for w written as a column."""
    rows = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]]
    g = torch.tensor(rows, dtype=like.dtype, device=like.device)
    return torch.kron(g, g)


def _transform_kernel(weight: Tensor) -> Tensor:
    """(C', C, 3, 3) -> u (16, C, C') = G w G^T."""
    co, ci = weight.shape[:2]
    columns = weight.permute(2, 3, 1, 0).reshape(9, ci * co)
    return (_basis(weight) @ columns).view(16, ci, co)


def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """y = W * x + b. x (N, C, F, T), weight (C', C, 3, 3), bias (C',) -> (N, C', F', T')."""
    x = channels_last(x)
    tiles = _Tiles(x, weight.shape[0], padding)
    u = _transform_kernel(weight)
    y = empty((len(x), tiles.fo, tiles.to, tiles.co), x)
    for part, out in zip(x.split(tiles.at_once), y.split(tiles.at_once), strict=True):
        tiles.chunk(part, len(part))
        tiles.transform_input(part)
        torch.bmm(tiles.v, u, out=tiles.m)
        tiles.transform_output(out)
        if bias is not None:
            out += bias
    return y.permute(0, 3, 1, 2)


def gradients(
    x: Tensor, grad_output: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> tuple[Tensor, Tensor]:
    """dL/dx = B [(A dL/dy A^T) u^T] B^T and dL/dW = G^T [v^T (A dL/dy A^T)] G."""
    x, g = channels_last(x), channels_last(grad_output)
    tiles = _Tiles(x, weight.shape[0], padding)
    u = _transform_kernel(weight)
    du = torch.zeros_like(u)
    dx = empty(tuple(x.shape), x)
    split = tiles.at_once
    for part, grad, out in zip(x.split(split), g.split(split), dx.split(split), strict=True):
        tiles.chunk(part, len(part))
        tiles.transform_input(part)
        tiles.spread_output(grad)
        du.baddbmm_(tiles.v.transpose(1, 2), tiles.m)
        torch.bmm(tiles.m, u.transpose(1, 2), out=tiles.v)
        tiles.spread_input(out)
    dw = (_basis(weight).T @ du.flatten(1)).view(3, 3, tiles.ci, tiles.co)
    return dx.permute(0, 3, 1, 2), dw.permute(3, 2, 0, 1)


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW alone, shape (C', C, 3, 3)."""
    weight = x.new_zeros(grad_output.shape[1], x.shape[1], 3, 3)
    return gradients(x, grad_output, weight, stride, padding)[1]
