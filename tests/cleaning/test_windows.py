"""Chunks and windows: laid end to end they are the signal, and the seams leave no trace."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_denoising.cleaning.windows import (
    CHUNK_SECONDS,
    CONTEXT_SECONDS,
    chunks,
    overlap_add,
    window_count,
)

RATE = 10  # for chunks of little samples


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 900) | st.sampled_from([510, 540]), max_size=5))
def test_chunks_laid_end_to_end_are_the_signal(sizes: list[int]) -> None:
    signal = np.arange(1, 2 * sum(sizes) + 1, dtype=np.float32).reshape(2, -1)
    blocks = np.split(signal, np.cumsum(sizes)[:-1], axis=1) if sizes else []
    context = CONTEXT_SECONDS * RATE
    position = 0
    for number, (samples, start, stop) in enumerate(chunks(blocks, RATE)):
        assert start == (context if number else 0)
        assert samples.shape[1] <= (CHUNK_SECONDS + 2 * CONTEXT_SECONDS) * RATE
        first = position - start
        assert np.array_equal(samples, signal[:, first : first + samples.shape[1]])
        after = signal.shape[1] - position - (stop - start)
        assert samples.shape[1] - stop == min(context, after) or after < context
        position += stop - start
    assert position == signal.shape[1]


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 700),
    channels=st.integers(0, 3),
    half=st.integers(1, 60),
    batch_size=st.integers(1, 9),
)
def test_doing_nothing_gives_the_signal_back(
    length: int, channels: int, half: int, batch_size: int
) -> None:
    signal = noise(channels, length)
    seen: list[int] = []

    def nothing(windows: torch.Tensor) -> torch.Tensor:
        seen.append(len(windows))
        assert windows.shape[1] == 2 * half
        return windows.clone()

    joined = overlap_add(signal, nothing, size=2 * half, batch_size=batch_size)
    assert joined.shape == signal.shape
    assert torch.allclose(joined, signal, rtol=1e-6, atol=1e-8)
    assert sum(seen) == channels * window_count(length, 2 * half)
    assert all(n <= batch_size for n in seen)
