"""Max-pooling: keep the largest value of every window."""

from __future__ import annotations

import torch
from torch import Tensor

from audio_denoising.nn.module import Module, Pair, output_size, pair, require


class MaxPool2d(Module):
    """The largest value of every K x K window, windows `stride` apart (K apart by default).

    Shapes: (N, C, F, T) -> (N, C, (F - K) // S + 1, ...). Among equal values the first one (row by
    row) gets the gradient, as in torch.nn.
    """

    fresh_output = True

    def __init__(self, kernel: int | Pair, stride: int | Pair | None = None) -> None:
        self.kernel = pair(kernel)
        self.stride = self.kernel if stride is None else pair(stride)

    def _taps(self, x: Tensor, size: Pair) -> list[Tensor]:
        """One view of x per position (i, j) inside the window, each (N, C, F', T')."""
        (kf, kt), (sf, st), (fo, to) = self.kernel, self.stride, size
        return [
            x[:, :, i : i + sf * (fo - 1) + 1 : sf, j : j + st * (to - 1) + 1 : st]
            for i in range(kf)
            for j in range(kt)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> (N, C, F', T'); ValueError for no image, or one below the window."""
        require(x.dim() == 4, "MaxPool2d takes images (N, C, F, T)", x)
        size = (x.shape[2], x.shape[3])
        taps = self._taps(x, output_size(size, self.kernel, self.stride, (0, 0)))
        best = taps[0].clone()
        if not self.training:
            for tap in taps[1:]:
                torch.maximum(best, tap, out=best)
            return best
        # As small a type as can number the places of a window.
        kind = torch.uint8 if len(taps) <= 256 else torch.int32
        winner = torch.zeros_like(best, dtype=kind)
        for k, tap in enumerate(taps[1:], start=1):
            winner.masked_fill_(tap > best, k)
            torch.maximum(best, tap, out=best)
        self.keep(winner, size)
        return best

    # y = x[winner], so dL/dx is dL/dy at the winner of each window and zero elsewhere.

    def backward(self, grad_output: Tensor) -> Tensor:
        """(N, C, F', T') -> (N, C, F, T)."""
        winner, size = self.take()
        n, c = grad_output.shape[:2]
        last = grad_output.new_zeros(n, *size, c).permute(0, 3, 1, 2)  # channels last
        for k, tap in enumerate(self._taps(last, (winner.shape[2], winner.shape[3]))):
            tap += grad_output * (winner == k)
        return last
