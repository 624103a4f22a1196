"""Long signals in short windows: cut, process, and join with a cross-fade that sums to one.

The network sees 2.55 s at a time. Neighbouring windows overlap by half; each is faded in and out
by a Hann slope, and where two windows meet the slopes add up to exactly one. The first window has
no fade-in and the last no fade-out, so the ends keep their level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from audio_denoising.dsp.spectrum import SEGMENT

Process = Callable[[Tensor], Tensor]
"""Takes windows ``(N, size)`` and returns as many, of the same size."""

Progress = Callable[[int, int], None]
"""Called with the number of windows done and the number of all windows."""


def window_count(length: int, size: int = SEGMENT) -> int:
    """Number of half-overlapped windows of ``size`` samples that cover ``length`` samples."""
    if length <= 0:
        return 0
    return max(0, math.ceil((length - size) / (size // 2))) + 1


def overlap_add(
    signal: Tensor,
    process: Process,
    *,
    size: int = SEGMENT,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> Tensor:
    """Run ``process`` over half-overlapped windows of ``signal`` and join the results.

    Behind its end the signal is continued by its mirror image, which the network takes for more of
    the same recording; zeros would be a sudden silence. Only one batch of windows exists at a time.

    Args:
        signal: real tensor ``(C, L)`` of any length, 0 included.
        process: what to do with a batch of windows ``(N, size)``. The channels take their turns in
            one batch.
        size: samples of a window, even.
        batch_size: windows handed to ``process`` at once.
        progress: called after every batch with (windows done, windows in all).

    Returns:
        Tensor of the same shape, dtype and device. With a ``process`` that changes nothing, it is
        the signal to within rounding.
    """
    channels, length = signal.shape
    if channels == 0 or length == 0:
        return signal.clone()
    hop = size // 2
    count = window_count(length, size)
    fade_in = _fade_in(hop, signal)
    fade_out = 1.0 - fade_in
    # Written behind the end as well, then cut: every window is whole.
    joined = signal.new_zeros(channels, (count + 1) * hop)
    done = 0
    for batch in _batches(channels, count, batch_size):
        windows = torch.stack([_window(signal[c], k * hop, size) for c, k in batch])
        for (c, k), processed in zip(batch, process(windows).to(joined), strict=True):
            first, second = processed[:hop], processed[hop:]
            start = k * hop
            joined[c, start : start + hop] += first if k == 0 else first * fade_in
            joined[c, start + hop : start + size] += second if k == count - 1 else second * fade_out
        done += len(batch)
        if progress is not None:
            progress(done, channels * count)
    return joined[:, :length].contiguous()


def _fade_in(hop: int, like: Tensor) -> Tensor:
    """Rising half of a Hann window at half-sample points: ``f(t) + f(hop - t) = 1``."""
    phase = (torch.arange(hop, dtype=torch.float64) + 0.5) / hop
    return torch.sin(0.5 * math.pi * phase).square().to(like)


def _window(channel: Tensor, start: int, size: int) -> Tensor:
    """``size`` samples of a channel from ``start``, mirrored back and forth behind its end."""
    if start + size <= channel.shape[0]:
        return channel[start : start + size]
    length = channel.shape[0]
    position = torch.arange(start, start + size, device=channel.device) % (2 * length)
    return channel[torch.where(position < length, position, 2 * length - 1 - position)]


def _batches(channels: int, count: int, batch_size: int) -> Iterator[list[tuple[int, int]]]:
    """(channel, window) pairs in batches; the channels of one window stand side by side."""
    pairs = [(c, k) for k in range(count) for c in range(channels)]
    for start in range(0, len(pairs), batch_size):
        yield pairs[start : start + batch_size]
