"""The bases that Winograd's convolution F(m, 3) works in, and how images get there and back.

Three taps w meet m + 2 values d and give m outputs y = A^T [ (G w) . (B^T d) ]: the kernel and the
image are polynomials, multiplied at m + 2 points and put together again. `winograd.py` uses them
along both axes. Transforms are sums of slices, each worked out in place where it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Matrix = Sequence[Sequence[float]]
Combination = tuple[tuple[float, int], ...]  # a sum of (coefficient, index of a source)


def _combinations(matrix: Matrix) -> tuple[Combination, ...]:
    """Each row of a matrix as a sum over its entries, those with coefficient 1 first."""
    return tuple(
        tuple(sorted(((c, i) for i, c in enumerate(row) if c), key=lambda term: term[0] != 1))
        for row in matrix
    )


def combine(combination: Combination, sources: Sequence[Tensor], out: Tensor) -> None:
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


@dataclass(frozen=True)
class Basis:
    """The matrices of F(m, 3): G for the kernel, and for images B and A as sums of slices.

    The points +p and -p share their terms: one is e + p o, the other e - p o, with the even and the
    odd powers of p. `pairs` lists (index of +p, index of -p, p). Where points are made, the sums
    are those of e and o, which then become the points in place. On the way back the points first
    become their sum and their difference.
    """

    m: int
    pairs: tuple[tuple[int, int, float], ...]
    g: Matrix
    to_points: tuple[Combination, ...]  # B^T
    adjoint_of_from: tuple[Combination, ...]  # A
    from_points: tuple[Combination, ...]  # A^T
    adjoint_of_to: tuple[Combination, ...]  # B

    @staticmethod
    def of(
        g: Matrix, bt: Matrix, at: Matrix, pairs: tuple[tuple[int, int, float], ...] = ()
    ) -> Basis:
        """From G (m + 2, 3), B^T (m + 2, m + 2) with the *rows* of pairs replaced by those of e and
        o, and A^T (m, m + 2) with their *columns* replaced likewise."""
        b, a = list(zip(*bt, strict=True)), list(zip(*at, strict=True))
        # The adjoint of (e, o) -> (e + p o, e - p o) is (+, -) -> (sum, p times difference).
        scale = {minus: p for _, minus, p in pairs}
        back = (
            [[scale.get(k, 1) * value for k, value in enumerate(row)] for row in matrix]
            for matrix in (at, b)
        )
        return Basis(len(at), pairs, g, *map(_combinations, (bt, a, *back)))

    def kernels(self, like: Tensor) -> Tensor:
        """The Kronecker product of G with itself: G w G^T for w written as a column of 9."""
        g = torch.tensor(self.g, dtype=like.dtype, device=like.device)
        return torch.kron(g, g)

    def map_to_points(
        self, combinations: Sequence[Combination], sources: Sequence[Tensor], out: Sequence[Tensor]
    ) -> None:
        """out = the points; `combinations` are `to_points` or `adjoint_of_from`."""
        for combination, place in zip(combinations, out, strict=True):
            combine(combination, sources, place)
        for plus, minus, p in self.pairs:  # e, o -> e + p o, e - p o
            out[plus].add_(out[minus], alpha=p)
            torch.sub(out[plus], out[minus], alpha=2 * p, out=out[minus])

    def add_and_subtract(self, points: Sequence[Tensor]) -> None:
        """+, - -> their sum, their difference, in place; before `from_points`, `adjoint_of_to`."""
        for plus, minus, _ in self.pairs:
            points[plus].add_(points[minus])
            torch.sub(points[plus], points[minus], alpha=2, out=points[minus])


TWO = Basis.of(
    g=[[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
    bt=[[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    at=[[1, 1, 1, 0], [0, 1, -1, -1]],
)

FOUR = Basis.of(
    g=[
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    bt=[
        [4, 0, -5, 0, 1, 0],
        [0, 0, -4, 0, 1, 0],  # e of the points 1 and -1
        [0, -4, 0, 1, 0, 0],  # o
        [0, 0, -1, 0, 1, 0],  # e of the points 2 and -2
        [0, -1, 0, 1, 0, 0],  # o
        [0, 4, 0, -5, 0, 1],
    ],
    at=[[1, 1, 0, 1, 0, 0], [0, 0, 1, 0, 1, 0], [0, 1, 0, 4, 0, 0], [0, 0, 1, 0, 4, 1]],
    pairs=((1, 2, 1), (3, 4, 2)),
)
