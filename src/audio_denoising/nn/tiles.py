"""Pieces of a batch that stay in the caches, and matrix products over them.

A layer is computed tile by tile: a few rows of one image, or a few whole images where they are
small. Everything a tile needs and makes fits the second-level caches, which are several times
faster than the memory behind them. A GPU wants the whole batch at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

TILE = 3 << 17  # values per thread that a tile works on: 1.5 MiB in float32
PARTS = 8  # a product is dealt to threads in up to this many parts
SMALL = 1 << 16  # values of a matrix that may be summed over parts

Tile = tuple[slice, slice]


def tiles(samples: int, rows: int, values: int, device: torch.device) -> Iterator[Tile]:
    """(samples, rows) of each tile of `samples` images that have `rows` rows.

    Args:
        values: what one row takes, with all its intermediate results.
    """
    whole = slice(0, rows)
    if device.type != "cpu":
        yield slice(0, samples), whole
        return
    room = TILE * torch.get_num_threads()
    if room >= rows * values:
        at_once = room // (rows * values)
        yield from ((slice(n, n + at_once), whole) for n in range(0, samples, at_once))
        return
    high = max(1, room // values)
    if high > PARTS:
        high -= high % PARTS
    for n in range(samples):
        for row in range(0, rows, high):
            yield slice(n, n + 1), slice(row, min(rows, row + high))


def blocks(size: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Flat stretches of tensors that lie alike in memory, so that several passes cost one.

    Tensors that do not lie alike, or not densely, and tensors on a GPU come whole.
    """
    first = tensors[0]
    extent = 1 + sum((n - 1) * step for n, step in zip(first.shape, first.stride(), strict=True))
    alike = all(t.stride() == first.stride() for t in tensors)
    if not (extent == first.numel() and alike and first.device.type == "cpu"):
        yield tensors
        return
    flat = [t.as_strided((t.numel(),), (1,), t.storage_offset()) for t in tensors]
    yield from zip(*(t.split(size) for t in flat), strict=True)


def parts(x: Tensor) -> Tensor:
    """(n, R, Q, K) -> (parts, positions, K), a view: the images, or groups of rows of a single one.

    One large product splits badly between threads when its matrices are narrow: as a batch of
    several, each is the work of one thread.
    """
    n, r, q, k = x.shape
    if n > 1:
        return x.flatten(1, 2)
    count = math.gcd(r, PARTS)
    return x[0].view(count, r // count * q, k)


def multiply(rows: Tensor, matrix: Tensor, out: Tensor) -> None:
    """out = rows @ matrix. rows (parts, positions, K), matrix (K, C), out (parts, positions, C)."""
    torch.bmm(rows, matrix.expand(len(rows), -1, -1), out=out)


def add_product(rows: Tensor, matrix: Tensor, out: Tensor) -> None:
    """out += rows @ matrix, shapes as in `multiply`."""
    out.baddbmm_(rows, matrix.expand(len(rows), -1, -1))


def add_outer_product(left: Tensor, right: Tensor, total: Tensor) -> None:
    """total (K, C) += sum over all positions of left (parts, positions, K) times right (.., C)."""
    left = left.transpose(1, 2)
    if total.numel() <= SMALL:
        total += torch.bmm(left, right).sum(0)
    else:
        for a, b in zip(left, right, strict=True):
            total.addmm_(a, b)
