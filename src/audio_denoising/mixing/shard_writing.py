"""Writes one split of a corpus as tar shards of 16 kHz mono FLAC that stream from disk or network.

A shard holds pieces of audio in WebDataset's way: ``KEY.flac`` and beside it ``KEY.json`` with the
group (speaker, noise source), the split, the file it came from and its place in it. Recordings
longer than a minute are cut, and the pieces stand in random order, always the same one. Which piece
goes where follows from the recordings alone, and every shard begins with a digest of that: the same
recordings give the same bytes, and a run that was stopped keeps the shards that are whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audio_denoising.corpora.corpus import DamagedRecording, Recording, read_segment
from audio_denoising.dsp.constants import SAMPLE_RATE, SEGMENT
from audio_denoising.errors import UserError
from audio_denoising.files import save_whole
from audio_denoising.folders import single_run
from audio_denoising.mixing.shards import INSTALL, LONGEST, Shard, ShardIndex

_PLAN = "__plan__/shard"  # readers of WebDataset shards pass over such a name
_OVERHEAD = 3072  # bytes of tar headers, padding and JSON around a piece
_SILENT = 1e-6  # mean square (-60 dB) that a stretch of 2.55 s must have to be audible


@dataclass
class Written:
    """What became of one split: its index, and why some recordings are not in its shards."""

    index: ShardIndex
    left_out: dict[Path, str]


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
) -> Written:
    """Writes ``recordings`` as the shards ``WHAT-SPLIT-NNNNNN.tar`` and their index.

    Recordings that are damaged or silent from end to end are left out and named in the result.

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
    shards = _plan(recordings, folders, what, split, megabytes)
    paths = [out / f"{what}-{split}-{number:06d}.tar" for number in range(len(shards))]
    digests = [_digest(pieces) for pieces in shards]
    total, done = sum(map(len, shards)), 0
    reasons: dict[Path, str] = {}
    found: list[Shard] = []
    groups: set[str] = set()

    def tell(written: int) -> None:
        progress(done + written, total)

    pool = ThreadPoolExecutor(os.cpu_count())  # libsndfile decodes without Python's lock
    with single_run(out), _plain_errors(out):
        _make_way(out, f"{what}-{split}", dict(zip(paths, digests, strict=True)), force=force)
        try:
            for path, pieces, digest in zip(paths, shards, digests, strict=True):
                if _digest_of(path) != digest:
                    audio = zip(pieces, pool.map(_encode, pieces), strict=True)
                    reasons |= _write(path, digest, audio, tell)
                done += len(pieces)
                progress(done, total)
                shard, keys = _survey(path)
                found.append(shard)
                groups |= set(keys.values())
                for piece in pieces:
                    if piece.key not in keys:
                        reasons.setdefault(piece.recording.path, "silent or damaged")
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for whole shards
        if not groups:
            raise UserError(
                f"{' and '.join(map(str, folders))} leaves no {what} for the {split} split that "
                "can be used: add recordings, or choose another --split"
            )
        index = ShardIndex(what, split, sorted(groups), found)
        save_whole(
            out / index.name, lambda path: path.write_text(index.to_json(), encoding="utf-8")
        )
    return Written(index, reasons)


def _plan(
    recordings: Sequence[Recording],
    folders: Sequence[Path],
    what: str,
    split: str,
    megabytes: float,
) -> list[list[_Piece]]:
    """Deals pieces to shards; nothing is decoded for it."""
    pieces = []
    for recording in recordings:
        file = recording.path.relative_to(folders[recording.source].resolve()).as_posix()
        parts = max(1, math.ceil(recording.seconds / LONGEST))
        edges = [recording.samples * part // parts for part in range(parts + 1)]
        for start, end in pairwise(edges):
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
    pieces.sort(key=lambda piece: hashlib.sha256(piece.key.encode()).digest())
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


def _digest(pieces: Sequence[_Piece]) -> bytes:
    """Of all that decides the content of a shard; its first member."""
    sources = [
        (piece.key, piece.about, piece.recording.rate, piece.recording.path.stat().st_size)
        for piece in pieces
    ]
    digest = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
    return json.dumps({"plan": digest}).encode()


def _digest_of(path: Path) -> bytes | None:
    """The first member of the shard at ``path``; None if there is none."""
    try:
        with tarfile.open(path) as tar:
            member = tar.next()
            file = tar.extractfile(member) if member and member.name.startswith(_PLAN) else None
            return file.read() if file else None
    except (OSError, tarfile.TarError):
        return None


def _make_way(out: Path, name: str, plan: dict[Path, bytes], *, force: bool) -> None:
    """Removes what is there of another set with this name, if ``force`` allows it."""
    there = [path for path in out.iterdir() if re.fullmatch(rf"{name}-\d+\.tar", path.name)]
    others = [path for path in there if path not in plan or _digest_of(path) != plan[path]]
    if others and not force:
        raise UserError(
            f"{min(others)} holds other recordings, or the same ones written another way: choose "
            "another --out, or replace the set by --force"
        )
    if others:
        (out / f"{name}.json").unlink(missing_ok=True)
    for path in others:
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


def _write(
    path: Path,
    digest: bytes,
    audio: Iterator[tuple[_Piece, bytes | str]],
    tell: Callable[[int], None],
) -> dict[Path, str]:
    """Writes one shard, whole or not at all; says what had to be left out, and why."""
    import webdataset

    left_out: dict[Path, str] = {}

    def fill(draft: Path) -> None:
        fixed = {"user": "", "group": "", "mtime": 0}
        with (
            draft.open("wb") as stream,
            webdataset.TarWriter(stream, encoder=False, compress=False, **fixed) as tar,
        ):
            tar.write({"__key__": _PLAN, "json": digest})
            for number, (piece, found) in enumerate(audio, 1):
                if isinstance(found, str):
                    left_out[piece.recording.path] = found
                else:
                    about = json.dumps(piece.about, sort_keys=True).encode()
                    tar.write({"__key__": piece.key, "flac": found, "json": about})
                tell(number)

    save_whole(path, fill)
    return left_out


def _survey(path: Path) -> tuple[Shard, dict[str, str]]:
    """Reads a finished shard: its line in the index, and the group of every key."""
    groups, samples = {}, 0
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, ending = member.name.rpartition(".")
            file = tar.extractfile(member)
            if ending == "json" and key != _PLAN and file is not None:
                about = json.loads(file.read())
                groups[key] = about["group"]
                samples += about["samples"]
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    seconds = round(samples / SAMPLE_RATE, 3)
    return Shard(path.name, len(groups), seconds, path.stat().st_size, checksum), groups


@contextmanager
def _plain_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, soundfile.SoundFileError) as error:
        reason = getattr(error, "strerror", None) or "the disk may be full"
        raise UserError(
            f"{out} cannot be written ({reason}): free some space or choose another --out; the "
            "shards that are finished are kept"
        ) from error
