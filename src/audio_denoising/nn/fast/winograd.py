"""Winograd's convolution F(4x4, 3x3): 4 x 4 outputs for 36 multiplications, not 144.

A tile of 6 x 6 pixels holds all that 4 x 4 outputs depend on. In a transformed basis the 3x3 kernel
acts on it value by value:

    y = A^T [ (G w G^T) . (B^T d B) ] A        d tile of x,  w 3x3 kernel,  y 4x4 outputs

With many channels the product at each of the 36 points is a matrix product over channels, so one
batched product does 4 times less work than im2col. The transforms are products with matrices of six
rows, cheap beside that as long as no memory is asked for. The gradient at the input is such a
convolution again, of dL/dy with the kernel turned round; that of the kernel is the adjoint: A for
A^T, G^T for G.

Winograd, "Arithmetic complexity of computations", 1980; Lavin and Gray, "Fast algorithms for
convolutional neural networks", CVPR 2016 (arXiv:1509.09308), section 4. Rounding errors are larger
than those of a direct convolution: about 1e-6 relative.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from audio_denoising.nn.fast.tiles import Tile, tiles
from audio_denoising.nn.memory import channels_last, empty, scratch
from audio_denoising.nn.module import Pair, output_size

STEP, EDGE = 4, 6  # a tile is 6 pixels long and starts every 4

# Kernel and image are polynomials, multiplied at the points 0, 1, -1, 2, -2 and infinity and put
# together again. The device is named: this file may be imported while a network without memory is
# built.
G = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
    device="cpu",
)
B_T = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    device="cpu",
)
A_T = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    device="cpu",
)


def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """y = W * x + b. x (N, C, F, T), weight (C', C, 3, 3), bias (C',) -> (N, C', F', T')."""
    return _convolve(x, _transform_kernel(weight, _kernel_map(x)), bias, padding)


def input_gradient(
    grad_output: Tensor, weight: Tensor, size: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dx, shape (N, C, F, T) with (F, T) = `size`; the padding is 2 or less."""
    u = _transform_kernel(weight, _kernel_map(grad_output).flip(1))  # turned round
    return _convolve(grad_output, u.transpose(1, 2), None, (2 - padding[0], 2 - padding[1]))


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW = G^T [v^T (A dL/dy A^T)] G, shape (C', C, 3, 3)."""
    x, patches = channels_last(x), _patches(channels_last(grad_output))
    ci, co = x.shape[3], patches.shape[5]
    du = scratch((EDGE**2, ci, co), x, "kernel")
    for i, chunk in enumerate(_chunks(x, patches, padding)):
        m = _both_axes(A_T.T, patches[chunk.tiles], "output points").view(EDGE**2, -1, co)
        du.baddbmm_(_input_points(x, chunk).transpose(1, 2), m, beta=int(i > 0))
    return (_kernel_map(x).T @ du.flatten(1)).view(3, 3, ci, co).permute(3, 2, 0, 1)


def _convolve(x: Tensor, u: Tensor, bias: Tensor | None, padding: Pair) -> Tensor:
    """(N, C, F, T) -> (N, C', F', T') with a transformed kernel u (36, C, C')."""
    fo, to = output_size((x.shape[2], x.shape[3]), (3, 3), (1, 1), padding)
    x = channels_last(x)
    y = empty((len(x), fo + -fo % STEP, to + -to % STEP, u.shape[2]), x)
    patches = _patches(y)
    for chunk in _chunks(x, patches, padding):
        v = _input_points(x, chunk)
        m = torch.bmm(v, u, out=scratch((EDGE**2, v.shape[1], u.shape[2]), x, "products"))
        if bias is not None:  # the sum of the output's transform is the point (1, 1) times ones
            m[EDGE + 1] += bias
        m = m.view(EDGE, EDGE, *chunk.shape, -1)
        patches[chunk.tiles] = _both_axes(A_T, m, "outputs")
    return y[:, :fo, :to].permute(0, 3, 1, 2)


def _kernel_map(like: Tensor) -> Tensor:
    """The Kronecker product of G with itself: G w G^T for w written as a column of 9."""
    return torch.kron(G, G).to(like)


def _transform_kernel(weight: Tensor, kernel_map: Tensor) -> Tensor:
    """(C', C, 3, 3) -> u (36, C, C') = G w G^T."""
    co, ci = weight.shape[:2]
    columns = weight.permute(2, 3, 1, 0).reshape(9, ci * co)
    u = scratch((EDGE**2, ci * co), weight, "kernel")
    return torch.mm(kernel_map, columns, out=u).view(-1, ci, co)


def _patches(y: Tensor) -> Tensor:
    """(N, F', T', C') -> (4, 4, N, rows of tiles, tiles in a row, C'): what each tile puts out.

    It is a view, but where the sides are no multiples of 4: then a copy, with zeros behind.
    """
    n, f, t, c = y.shape
    if f % STEP or t % STEP:
        even = y.new_zeros(n, f + -f % STEP, t + -t % STEP, c)
        even[:, :f, :t] = y
        y = even
    tiled = y.view(n, y.shape[1] // STEP, STEP, y.shape[2] // STEP, STEP, c)
    return tiled.permute(2, 4, 0, 1, 3, 5)


@dataclass
class _Chunk:
    """A few rows of tiles, of one image or of several, and where they lie."""

    shape: tuple[int, int, int]  # images, rows of tiles, tiles in a row
    tiles: tuple[slice, ...]  # of `_patches`
    inputs: Tile  # samples and rows of x
    place: Tile  # these rows, and all frames, in the padded image that the tiles cover


def _chunks(x: Tensor, patches: Tensor, padding: Pair) -> Iterator[_Chunk]:
    """All tiles of x (N, F, T, C), whose outputs are `_patches`."""
    (_, f, t, ci), (pf, pt) = x.shape, padding
    count, rows_of_tiles, in_row, co = patches.shape[2:]
    values = EDGE**2 * in_row * (ci + co) // 4  # not all are needed at once
    for samples, rows in tiles(count, rows_of_tiles, values, x.device):
        top = STEP * rows.start - pf  # of the padded image, as a row of x
        low = min(max(0, top), f)
        high = max(low, min(f, STEP * rows.stop + 2 - pf))
        yield _Chunk(
            (len(range(count)[samples]), rows.stop - rows.start, in_row),
            (slice(None), slice(None), samples, rows),
            (samples, slice(low, high)),
            (slice(low - top, high - top), slice(pt, pt + t)),
        )


def _both_axes(matrix: Tensor, x: Tensor, use: str) -> Tensor:
    """Multiplies a matrix to both axes in front, (K, K, ...) -> (M, M, ...), in a work area."""
    (m, k), rest = matrix.shape, x.shape[2:]
    matrix = matrix.to(x)
    if not x.is_contiguous():
        x = scratch(tuple(x.shape), x, "tiles").copy_(x)
    columns = x.view(k, k, -1)
    once = scratch((k, m, columns.shape[2]), x, "one axis")
    torch.bmm(matrix.expand(k, -1, -1), columns.transpose(0, 1), out=once)
    both = scratch((m, m, columns.shape[2]), x, use)
    torch.bmm(matrix.expand(m, -1, -1), once.transpose(0, 1), out=both)
    return both.view(m, m, *rest)


def _input_points(x: Tensor, chunk: _Chunk) -> Tensor:
    """v = B^T d B for every tile d of x (N, F, T, C): (36, tiles, C)."""
    (n, r, q), c = chunk.shape, x.shape[3]
    image = scratch((n, STEP * r + 2, STEP * q + 2, c), x, "image").zero_()
    image[:, chunk.place[0], chunk.place[1]] = x[chunk.inputs]
    by_n, by_f, by_t, _ = image.stride()
    strides = (by_f, by_t, by_n, STEP * by_f, STEP * by_t, 1)
    windows = image.as_strided((EDGE, EDGE, n, r, q, c), strides)
    return _both_axes(B_T, windows, "input points").view(EDGE**2, -1, c)
