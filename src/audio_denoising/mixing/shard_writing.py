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
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from audio_denoising.corpora.corpus import DamagedRecording, Recording, read_segment
from audio_denoising.dsp.constants import SAMPLE_RATE, SEGMENT
from audio_denoising.errors import UserError
from audio_denoising.files import save_whole
from audio_denoising.folders import single_run
from audio_denoising.mixing.library import all_cores
from audio_denoising.mixing.shards import INSTALL, Shard, ShardIndex

_LONGEST = 60.0  # seconds of a piece
_OVERHEAD = 3072  # bytes of tar headers, padding and JSON around a piece
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
    force: bool = False,
    progress: Callable[..., object] = lambda completed, total: None,
) -> ShardIndex:
    """Writes ``recordings`` as the shards ``WHAT-SPLIT-NNNNNN.tar`` and the index, which is given.

    Recordings that are damaged or silent from end to end are left out; the index names them.

    Args:
        recordings: one split of what `corpus.index_speech` or `index_noise` finds in ``folders``.
        megabytes: what a shard holds at most, in 10⁶ bytes before FLAC makes it smaller.
        force: replace an earlier set of other recordings.
        progress: told how many pieces are ``completed``, and how many there are in ``total``.

    Raises:
        UserError: nothing to write, another set is there, no webdataset, or the disk is full.
    """
    try:
        import webdataset  # noqa: F401, before anything is touched
    except ImportError as error:
        raise UserError(f"Shards need the webdataset library: {INSTALL}") from error
    plan = _plan(recordings, folders, what, split, megabytes * 1e6)
    with single_run(out), all_cores() as pool:
        index = _begin(out, ShardIndex(what, split, plan=_digest(plan), finished=False), force)
        here = len(index.shards)
        done, total = (sum(map(len, shards)) for shards in (plan[:here], plan))
        for number, pieces in enumerate(plan[here:], here):
            kept = []
            for piece, found in zip(pieces, pool.map(_encode, pieces), strict=True):
                done += 1
                progress(completed=done, total=total)
                if isinstance(found, str):
                    index.left_out[piece.about["file"]] = found
                else:
                    kept.append((piece, found))
            index.shards.append(_write(out / f"{what}-{split}-{number:06d}.tar", kept))
            index.groups = sorted({*index.groups, *(piece.about["group"] for piece, _ in kept)})
            index.save(out)
        if not index.groups:
            _remove(_files(out, index))
            raise UserError(
                f"{' and '.join(map(str, folders))} leaves no {what} for the {split} split that "
                "can be used: add recordings, or choose another --split"
            )
        index.finished = True
        index.save(out)
    return index


def _plan(
    recordings: Sequence[Recording], folders: Sequence[Path], what: str, split: str, size: float
) -> list[list[_Piece]]:
    """The pieces of every shard, of ``size`` bytes at most; nothing is decoded for it."""
    pieces = []
    for recording in recordings:
        file = recording.path.relative_to(folders[recording.source].resolve()).as_posix()
        # Nothing that a tar, a shell or WebDataset's keys take amiss.
        names = (
            re.sub(r"[^A-Za-z0-9_-]+", "_", n)[:60] for n in (recording.group, Path(file).stem)
        )
        name = "/".join(names)
        parts = max(1, math.ceil(recording.seconds / _LONGEST))
        edges = [recording.samples * part // parts for part in range(parts + 1)]
        for start, end in itertools.pairwise(edges):
            # A checksum keeps equal names apart.
            digest = hashlib.sha256(f"{recording.source}:{file}:{start}".encode()).hexdigest()
            about = {
                "what": what, "split": split, "group": recording.group, "file": file,
                "start": start, "samples": end - start, "rate": SAMPLE_RATE,
                "recording_samples": recording.samples,
            }  # fmt: skip
            pieces.append(_Piece(recording, f"{name}-{digest[:10]}", about))
    # By a checksum: any order would do that is no order of speakers and the same everywhere.
    pieces.sort(key=lambda piece: hashlib.sha256(piece.key.encode()).digest())
    shards: list[list[_Piece]] = []
    room = 0.0
    for piece in pieces:
        needed = 2 * piece.about["samples"] + _OVERHEAD
        if not shards or needed > room:
            shards.append([])
            room = size
        shards[-1].append(piece)
        room -= needed
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
    there = _files(out, index)
    sizes = {path.name: path.stat().st_size for path in there}
    with suppress(UserError):  # a damaged index is another one
        old = ShardIndex.read(str(out / f"{index.what}-{index.split}.json"))
        whole = old and all(sizes.get(shard.name) == shard.bytes for shard in old.shards)
        if old and whole and old.plan == index.plan:
            return old
    if there and not force:
        raise UserError(
            f"{there[0]} is of other recordings, or of the same ones written another way: choose "
            "another --out, or replace the set by --force"
        )
    _remove(there)
    index.save(out)
    return index


def _files(out: Path, index: ShardIndex) -> list[Path]:
    """All that is there under the name of a set, the index first."""
    name = f"{index.what}-{index.split}"
    return [path for end in (".json", "-[0-9]*.tar") for path in sorted(out.glob(name + end))]


def _remove(files: Sequence[Path]) -> None:
    for path in files:
        path.unlink()


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


def _write(path: Path, pieces: Sequence[tuple[_Piece, bytes]]) -> Shard:
    """Writes a shard, whole or not at all; what the index says of it."""
    from webdataset import TarWriter

    def fill(draft: Path) -> None:
        fixed = {"user": "", "group": "", "mtime": 0}
        with (
            draft.open("wb") as stream,
            TarWriter(stream, encoder=False, compress=False, **fixed) as tar,
        ):
            for piece, audio in pieces:
                about = json.dumps(piece.about, sort_keys=True).encode()
                tar.write({"__key__": piece.key, "flac": audio, "json": about})

    save_whole(path, fill)
    seconds = round(sum(piece.about["samples"] for piece, _ in pieces) / SAMPLE_RATE, 3)
    return Shard(path.name, len(pieces), seconds, path.stat().st_size)
