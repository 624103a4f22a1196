"""A recording of any length as chunks of a minute, each with a little of its surroundings.

Memory stays bounded however long the recording is, and the cuts leave no trace: a chunk lasts
51 s, the shortest time that is a whole number of seconds (so that every sample rate cuts between
samples) and of half windows at 16 kHz (so that every chunk meets the same grid of windows).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from audio_denoising.dsp.resampling import Samples

CHUNK_SECONDS = 51
CONTEXT_SECONDS = 3


@dataclass(frozen=True)
class Chunk:
    """Samples ``(C, L)``, of which ``[start, stop)`` count; the rest is context around them.

    ``start`` is 0 in the first chunk, three seconds in every other.
    """

    samples: Samples
    start: int
    stop: int


def chunks(blocks: Iterable[Samples], rate: int) -> Iterator[Chunk]:
    """Cut a signal that arrives in blocks of any size into chunks.

    Args:
        blocks: float32 arrays ``(C, n)``, one after the other.
        rate: sample rate in Hz, a whole number.

    Yields:
        Chunks whose parts ``samples[:, start:stop]`` are the signal when laid end to end.
    """
    core, context = CHUNK_SECONDS * rate, CONTEXT_SECONDS * rate
    held: Samples | None = None
    start = 0
    for block in blocks:
        held = block if held is None else np.concatenate((held, block), axis=1)
        while held.shape[1] >= start + core + context:
            yield Chunk(held[:, : start + core + context], start, start + core)
            held = held[:, start + core - context :]
            start = context
    while held is not None and held.shape[1] > start:
        stop = min(start + core, held.shape[1])
        yield Chunk(held, start, stop)
        held = held[:, stop - context :] if stop < held.shape[1] else None
        start = context
