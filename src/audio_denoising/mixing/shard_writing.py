"""Writes one split of a corpus as tar shards of 16 kHz mono FLAC that stream from disk or network.

A shard holds pieces of audio in WebDataset's way: ``KEY.flac`` and beside it ``KEY.json`` with the
group (speaker, noise source), the split, the file it came from and its place in it. Recordings
longer than a minute are cut, and the pieces stand in random order, always the same one. Which piece
goes where follows from the recordings alone, and the index, saved after every shard, holds a digest
of that: the same recordings give the same bytes, and a run that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audio_denoising.corpora.corpus import DamagedRecording, Recording, read_segment
from audio_denoising.dsp.constants import SAMPLE_RATE, SEGMENT
from audio_denoising.errors import UserError
from audio_denoising.files import save_whole
from audio_denoising.folders import single_run
from audio_denoising.mixing.library import all_cores
from audio_denoising.mixing.shard_index import Shard, ShardIndex
from audio_denoising.mixing.shards import INSTALL, LONGEST

_OVERHEAD = 3072  # bytes of tar headers, padding and JSON around a piece
_SILENT = 1e-6  # mean square (-60 dB) that a stretch of 2.55 s must have to be audible


@dataclass(frozen=True)
class _Piece:
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
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ShardIndex:
    """Writes ``recordings`` as the shards ``WHAT-SPLIT-NNNNNN.tar`` and the index, which is given.

    Recordings that are damaged or silent from end to end are left out; the index names them.

    Args:
        recordings: one split of what `corpus.index_speech` or `index_noise` finds in ``folders``.
        out: folder, made where absent.
        what: "speech" or "noise". split: "train", "validation" or "test".
        megabytes: what a shard holds at most, in 10⁶ bytes before FLAC makes it smaller.
        force: replace an earlier set of other recordings.
        progress: told how many pieces are done, and how many there are.

    Raises:
        UserError: nothing to write, another set is there, no webdataset, or the disk is full.
    """
    try:
        import webdataset  # noqa: F401, before anything is touched
    except ImportError as error:
        raise UserError(f"Writing shards needs the webdataset library: {INSTALL}") from error
    shards = _deal(_cut(recordings, folders, what, split), megabytes)
    total = sum(map(len, shards))
    with single_run(out), all_cores() as pool:
        index = _begin(out, ShardIndex(what, split, plan=_digest(shards), finished=False), force)
        done, left = shards[: len(index.shards)], shards[len(index.shards) :]
        numbers = itertools.count(1 + sum(map(len, done)))
        for pieces in left:
            _write(out, index, pieces, pool, lambda: progress(next(numbers), total))
        if not index.groups:
            _remove(out, index)
            raise UserError(
                f"{' and '.join(map(str, folders))} leaves no {what} for the {split} split that "
                "can be used: add recordings, or choose another --split"
            )
        index.finished = True
        _save(out, index)
    return index


def _cut(
    recordings: Sequence[Recording], folders: Sequence[Path], what: str, split: str
) -> list[_Piece]:
    """The pieces, in their order; nothing is decoded for it."""
    pieces = []
    for recording in recordings:
        file = recording.path.relative_to(folders[recording.source].resolve()).as_posix()
        parts = max(1, math.ceil(recording.seconds / LONGEST))
        edges = [recording.samples * part // parts for part in range(parts + 1)]
        for start, end in itertools.pairwise(edges):
            # A checksum keeps equal names apart.
            digest = hashlib.sha256(f"{recording.source}:{file}:{start}".encode()).hexdigest()
            # Nothing that a tar, a shell or WebDataset's keys take amiss.
            names = (
                re.sub(r"[^A-Za-z0-9_-]+", "_", n)[:60] for n in (recording.group, Path(file).stem)
            )
            about = {
                "what": what, "split": split, "group": recording.group, "file": file,
                "start": start, "samples": end - start, "rate": SAMPLE_RATE,
                "recording_samples": recording.samples,
            }  # fmt: skip
            pieces.append(_Piece(recording, f"{'/'.join(names)}-{digest[:10]}", about))
    # By a checksum: any order would do that is no order of speakers and the same everywhere.
    return sorted(pieces, key=lambda piece: hashlib.sha256(piece.key.encode()).digest())


def _deal(pieces: Sequence[_Piece], megabytes: float) -> list[list[_Piece]]:
    """Which of them share a shard."""
    shards: list[list[_Piece]] = []
    room = 0.0
    for piece in pieces:
        size = 2 * piece.about["samples"] + _OVERHEAD
        if not shards or size > room:
            shards.append([])
            room = megabytes * 1e6
        shards[-1].append(piece)
        room -= size
    return shards


def _digest(shards: Sequence[Sequence[_Piece]]) -> str:
    """Of all that decides the content of the shards."""
    sources = [
        [(each.about, each.recording.rate, each.recording.path.stat().st_size) for each in pieces]
        for pieces in shards
    ]
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()


def _begin(out: Path, index: ShardIndex, force: bool) -> ShardIndex:
    """The index of a run that was stopped, or the new one in place of any other set."""
    with suppress(UserError):  # a damaged index is another one
        old = ShardIndex.read(str(out / index.name))
        if old and old.plan == index.plan and all(_is_there(out, shard) for shard in old.shards):
            return old
    if not force and _files(out, index):
        raise UserError(
            f"{min(_files(out, index))} is of other recordings, or of the same ones written "
            "another way: choose another --out, or replace the set by --force"
        )
    _remove(out, index)
    _save(out, index)
    return index


def _is_there(out: Path, shard: Shard) -> bool:
    path = out / shard.name
    return path.is_file() and path.stat().st_size == shard.bytes


def _files(out: Path, index: ShardIndex) -> list[Path]:
    """All that is there under the name of a set."""
    ours = re.compile(rf"{index.what}-{index.split}(\.json|-\d+\.tar)")
    return [path for path in out.iterdir() if ours.fullmatch(path.name)]


def _remove(out: Path, index: ShardIndex) -> None:
    for path in sorted(_files(out, index), key=lambda path: path.suffix):  # the index first
        path.unlink()


def _save(out: Path, index: ShardIndex) -> None:
    save_whole(out / index.name, lambda path: path.write_text(index.to_json(), encoding="utf-8"))


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


def _write(
    out: Path,
    index: ShardIndex,
    pieces: Sequence[_Piece],
    pool: ThreadPoolExecutor,
    tell: Callable[[], object],
) -> None:
    """Writes the next shard, whole or not at all, and what the index says of it.

    Args:
        tell: called after every piece.
    """
    import webdataset

    path = out / f"{index.what}-{index.split}-{len(index.shards):06d}.tar"
    kept = []

    def fill(draft: Path) -> None:
        fixed = {"user": "", "group": "", "mtime": 0}
        with (
            draft.open("wb") as stream,
            webdataset.TarWriter(stream, encoder=False, compress=False, **fixed) as tar,
        ):
            for piece, found in zip(pieces, pool.map(_encode, pieces), strict=True):
                if isinstance(found, str):
                    index.left_out[piece.about["file"]] = found
                else:
                    about = json.dumps(piece.about, sort_keys=True).encode()
                    tar.write({"__key__": piece.key, "flac": found, "json": about})
                    kept.append(piece.about)
                tell()

    save_whole(path, fill)
    seconds = round(sum(about["samples"] for about in kept) / SAMPLE_RATE, 3)
    index.shards.append(Shard(path.name, len(kept), seconds, path.stat().st_size))
    index.groups = sorted({*index.groups, *(about["group"] for about in kept)})
    _save(out, index)
