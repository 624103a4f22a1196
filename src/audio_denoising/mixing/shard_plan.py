"""Deals a corpus to shards: which part of which recording stands in which of them.

Recordings longer than a minute are cut, so that no piece is too large to be held in memory. The
pieces stand in random order, always the same one: a reader that shuffles a few hundred of them
sees many speakers at any time. Nothing is decoded for it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from audio_denoising.corpora.corpus import Recording
from audio_denoising.dsp.constants import SAMPLE_RATE

LONGEST = 60 * SAMPLE_RATE  # samples of a piece
_OVERHEAD = 3072  # bytes of tar headers, padding and JSON around a piece
_BYTES = 2  # of a sample, before FLAC makes it smaller


@dataclass(frozen=True)
class Piece:
    """A recording, or the part of a long one that begins at sample ``start`` (at 16 kHz)."""

    recording: Recording
    file: str  # relative to its folder
    start: int
    samples: int

    @property
    def key(self) -> str:
        """Its name in the shard: group, name and a checksum that keeps equal names apart."""
        digest = hashlib.sha256(
            f"{self.recording.source}:{self.file}:{self.start}".encode()
        ).hexdigest()[:10]
        return f"{_plain(self.recording.group)}/{_plain(Path(self.file).stem)}-{digest}"

    def describe(self, what: str, split: str) -> dict[str, Any]:
        """What stands beside its audio."""
        return {
            "what": what,
            "split": split,
            "group": self.recording.group,
            "file": self.file,
            "start": self.start,
            "samples": self.samples,
            "rate": SAMPLE_RATE,
            "recording_samples": self.recording.samples,
        }


def plan(
    recordings: Sequence[Recording], folders: Sequence[Path], megabytes: float
) -> list[list[Piece]]:
    """Deals pieces to shards.

    Args:
        recordings: below ``folders``, each in the one that its ``source`` counts.
        megabytes: what a shard may hold, in 10⁶ bytes before FLAC makes it smaller.
    """
    pieces = []
    for recording in recordings:
        file = recording.path.relative_to(folders[recording.source].resolve()).as_posix()
        parts = max(1, math.ceil(recording.samples / LONGEST))
        edges = [recording.samples * part // parts for part in range(parts + 1)]
        pieces += [Piece(recording, file, a, b - a) for a, b in pairwise(edges)]
    # By a checksum: any order would do that is no order of speakers and the same everywhere.
    pieces.sort(key=lambda piece: hashlib.sha256(piece.key.encode()).digest())
    shards: list[list[Piece]] = []
    room = 0.0
    for piece in pieces:
        size = piece.samples * _BYTES + _OVERHEAD
        if not shards or size > room:
            shards.append([])
            room = megabytes * 1e6
        shards[-1].append(piece)
        room -= size
    return shards


def _plain(name: str) -> str:
    """``name`` with nothing in it that a tar, a shell or WebDataset's keys take amiss."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:60]
