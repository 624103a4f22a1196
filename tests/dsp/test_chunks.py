"""Chunks laid end to end are the signal, however it arrives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_denoising.dsp.chunks import CHUNK_SECONDS, CONTEXT_SECONDS, chunks
from audio_denoising.dsp.spectrum import SAMPLE_RATE, SEGMENT

RATE = 10


def test_chunks_meet_the_grid_of_windows() -> None:
    assert CHUNK_SECONDS * SAMPLE_RATE % (SEGMENT // 2) == 0
    assert CONTEXT_SECONDS * SAMPLE_RATE > SEGMENT


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 900), min_size=0, max_size=5))
def test_laid_end_to_end_they_are_the_signal(sizes: list[int]) -> None:
    signal = np.arange(1, 2 * sum(sizes) + 1, dtype=np.float32).reshape(2, -1)
    blocks = np.split(signal, np.cumsum(sizes)[:-1], axis=1) if sizes else []
    parts = list(chunks(blocks, RATE))
    position = 0
    for number, part in enumerate(parts):
        assert part.start == (CONTEXT_SECONDS * RATE if number else 0)
        assert part.samples.shape[1] <= (CHUNK_SECONDS + 2 * CONTEXT_SECONDS) * RATE
        first = position - part.start
        assert np.array_equal(part.samples, signal[:, first : first + part.samples.shape[1]])
        behind = part.samples.shape[1] - part.stop
        after = signal.shape[1] - position - (part.stop - part.start)
        assert behind == min(CONTEXT_SECONDS * RATE, after) or after < CONTEXT_SECONDS * RATE
        position += part.stop - part.start
    assert position == signal.shape[1]


@pytest.mark.parametrize("seconds", [51, 54, 102, 105])
def test_round_numbers_of_seconds(seconds: int) -> None:
    signal = np.arange(seconds * RATE, dtype=np.float32)[None]
    joined = [part.samples[:, part.start : part.stop] for part in chunks([signal], RATE)]
    assert np.array_equal(np.concatenate(joined, axis=1), signal)
