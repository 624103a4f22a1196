"""Pieces of a batch that stay in the caches, lowered to rows, and matrix products over them.

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
    """(samples, rows) of each tile of images with `rows` rows, each `values` with all it needs."""
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


def lower(
    x: Tensor, area: Tensor, kernel: int, rows: tuple[int, int], frames: tuple[int, int]
) -> None:
    """Fills an area with windows of x along time: the `kernel` neighbours of a frame side by side.

    area[n, r, q, k] = x[n, row + row_step r, frame + frame_step q + k], zero outside of x.

    Inside the image the neighbours lie side by side already: they are one overlapping view,
    gathered by a single copy. Only the first and last windows reach beyond the image.

    Args:
        x: (n, F, T, C), any strides over n and F.
        area: (n, R, Q, kernel C).
        rows: row, row_step. frames: frame, frame_step.
    """
    (row, row_step), (frame, frame_step) = rows, frames
    (_, count, windows, _), (_, f, t, c) = area.shape, x.shape
    low = min(count, max(0, -(row // row_step)))  # the first r whose row is inside x
    high = max(low, min(count, (f - 1 - row) // row_step + 1))  # behind the last that is
    area[:, :low] = 0
    area[:, high:] = 0
    if high == low:
        return
    first = min(windows, max(0, -(frame // frame_step)))  # the first window inside x
    last = max(first, min(windows, (t - kernel - frame) // frame_step + 1))  # behind the last one
    by_n, by_f, by_t, _ = x.stride()
    strides = (by_n, row_step * by_f, frame_step * by_t, 1)
    start = x.storage_offset() + (row + row_step * low) * by_f
    area = area[:, low:high]
    if last > first:
        inside = area[:, :, first:last]
        at = frame + frame_step * first
        inside.copy_(x.as_strided(inside.shape, strides, start + at * by_t))
    for q in (*range(first), *range(last, windows)):
        at = frame + frame_step * q
        begin, end = min(kernel, max(0, -at)), max(0, min(kernel, t - at))
        window = area[:, :, q : q + 1]
        window.zero_()
        if end > begin:
            inside = window[..., begin * c : end * c]
            inside.copy_(x.as_strided(inside.shape, strides, start + (at + begin) * by_t))


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


def add_outer_product(left: Tensor, right: Tensor, total: Tensor) -> None:
    """total (K, C) += sum over all positions of left (parts, positions, K) times right (.., C)."""
    left = left.transpose(1, 2)
    if total.numel() <= SMALL:
        total += torch.bmm(left, right).sum(0)
    else:
        for a, b in zip(left, right, strict=True):
            total.addmm_(a, b)
