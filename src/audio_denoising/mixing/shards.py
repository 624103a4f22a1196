"""Writes a corpus as sets of tar shards, one for each split of speech and noise.

A set is the files ``WHAT-SPLIT-000000.tar``, ``WHAT-SPLIT-000001.tar`` … with the index
``WHAT-SPLIT.json``. A shard holds pieces of audio in WebDataset's way: ``KEY.flac`` (16 kHz mono)
and beside it ``KEY.json`` with the group (speaker, noise source), the split, the file it came from
and its place in it. Recordings longer than a minute are cut, and the pieces stand in random order,
always the same one. `training.shard_material` reads such sets.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from audio_denoising.corpora.corpus import DamagedRecording, Recording, read_segment
from audio_denoising.corpora.shard_urls import INSTALL_SHARDS
from audio_denoising.dsp.constants import SAMPLE_RATE, SEGMENT
from audio_denoising.errors import UserError
from audio_denoising.mixing.library import all_cores

_LONGEST = 60.0  # seconds of a piece
_AT_ONCE = 64  # pieces encoded before they are written
_SILENT = 1e-6  # mean square (-60 dB) that a stretch of 2.55 s must have to be audible


class _Piece(NamedTuple):
    """A recording, or a part of a long one; ``about`` stands beside its audio."""

    recording: Recording
    key: str
    about: dict[str, Any]


def write_shards(
    recordings: Sequence[Recording],
    folders: Sequence[Path],
    out: Path,
    *,
    what: str,
    split: str,
    megabytes: float = 256.0,
    progress: Callable[..., object] = lambda completed, total: None,
) -> dict[str, Any]:
    """Writes ``recordings`` as the shards ``WHAT-SPLIT-NNNNNN.tar`` and the index, which is given.

    Args:
        recordings: one split of what `corpus.index_speech` or `index_noise` finds in ``folders``;
            those that are damaged or silent from end to end are left out, the index names them.
        megabytes: when a shard has so many 10⁶ bytes, the next one begins.
        progress: told how many pieces are ``completed``, and how many there are in ``total``.

    Raises:
        UserError: nothing to write, or no webdataset. OSError: the disk is full.
    """
    try:
        from webdataset import ShardWriter
    except ImportError as error:
        raise UserError(INSTALL_SHARDS) from error
    out.mkdir(parents=True, exist_ok=True)
    pieces = _pieces(recordings, folders, split)
    counts: Counter[str] = Counter()  # of the pieces in each shard
    groups: set[str] = set()
    left_out, samples = {}, 0
    # Nothing of this machine or of this day: the same recordings give the same bytes.
    fixed = {"encoder": False, "user": "", "group": "", "mtime": 0}
    place, size = out.resolve().as_uri().replace("%", "%%"), megabytes * 1e6
    pattern = f"{place}/{what}-{split}-%06d.tar"
    with all_cores() as pool, ShardWriter(pattern, maxsize=size, verbose=0, **fixed) as writer:
        for first in range(0, len(pieces), _AT_ONCE):
            some = pieces[first : first + _AT_ONCE]
            progress(completed=first, total=len(pieces))
            for piece, audio in zip(some, pool.map(_encode, some), strict=True):
                if isinstance(audio, str):
                    left_out[piece.about["file"]] = audio
                    continue
                about = json.dumps(piece.about).encode()
                writer.write({"__key__": piece.key, "flac": audio, "json": about})
                counts[writer.fname.rpartition("/")[2]] += 1
                groups.add(piece.about["group"])
                samples += piece.about["samples"]
    if not groups:
        raise UserError(
            f"{' and '.join(map(str, folders))} leaves no {what} for the {split} split that can be "
            "used: add recordings, or choose another --split"
        )
    index = {
        "what": what, "split": split, "groups": sorted(groups), "seconds": samples / SAMPLE_RATE,
        "shards": [
            {"name": name, "pieces": count, "bytes": (out / name).stat().st_size}
            for name, count in counts.items()
        ],
        "left_out": left_out,
    }  # fmt: skip
    (out / f"{what}-{split}.json").write_text(json.dumps(index, indent=1))
    return index


def _pieces(recordings: Sequence[Recording], folders: Sequence[Path], split: str) -> list[_Piece]:
    """Everything that is to be written, in its order; nothing is decoded for it."""
    pieces = []
    for recording in recordings:
        file = recording.path.relative_to(folders[recording.source].resolve()).as_posix()
        names = (recording.group, Path(file).stem)
        # Nothing that a tar, a shell or WebDataset's keys take amiss.
        name = "/".join(re.sub(r"[^A-Za-z0-9_-]+", "_", each)[:60] for each in names)
        parts = max(1, math.ceil(recording.seconds / _LONGEST))
        edges = [recording.samples * part // parts for part in range(parts + 1)]
        for start, end in itertools.pairwise(edges):
            # A checksum keeps equal names apart.
            digest = hashlib.sha256(f"{recording.source}:{file}:{start}".encode()).hexdigest()
            about: dict[str, Any] = {"split": split, "group": recording.group, "file": file}
            about |= {"start": start, "samples": end - start}
            pieces.append(_Piece(recording, f"{name}-{digest[:10]}", about))
    # By a checksum: any order would do that is no order of speakers and the same everywhere.
    return sorted(pieces, key=lambda piece: hashlib.sha256(piece.key.encode()).digest())


def _encode(piece: _Piece) -> bytes | str:
    """The piece as FLAC, or why there is none."""
    try:
        audio = read_segment(piece.recording, piece.about["start"], piece.about["samples"])
    except DamagedRecording as error:
        return str(error)
    # Below this no stretch of 2.55 s can be audible, wherever it begins.
    if float(np.square(audio, dtype=np.float64).sum()) < _SILENT * SEGMENT:
        return "silent"
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, SAMPLE_RATE, "PCM_16", format="FLAC")
    return buffer.getvalue()
