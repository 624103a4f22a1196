"""The fast convolution, as three files and one table of when each is the fastest.

| kernel  | stride | channels in and out | 4x4 tiles of a batch | file       |
|---------|--------|---------------------|----------------------|------------|
| 3x3     | 1      | 64 or more          | 32 or more           | `winograd` |
| any     | any    | any                 | any                  | `rows`     |

`tiles` cuts the work into pieces that stay in the caches, for both. docs/fast_convolution.md
explains each trick with its measured gain.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor

from audio_denoising.nn.fast import rows, winograd
from audio_denoising.nn.module import Pair, output_size

FEWEST_CHANNELS = 64  # below, Winograd's transforms cost too much
FEWEST_TILES = 32  # below, transforming the kernels costs more than it saves


def choose(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> ModuleType:
    """The file for a convolution of x (N, C, F, T) with a weight (C', C, K_f, K_t)."""
    kernel = (weight.shape[2], weight.shape[3])
    if kernel == (3, 3) and stride == (1, 1) and min(weight.shape[:2]) >= FEWEST_CHANNELS:
        f, t = output_size((x.shape[2], x.shape[3]), kernel, stride, padding)
        if len(x) * -(-f // 4) * -(-t // 4) >= FEWEST_TILES:
            return winograd
    return rows
