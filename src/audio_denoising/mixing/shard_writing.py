"""Writes one split of a corpus as tar shards of 16 kHz mono FLAC that stream from disk or network.

A shard holds pieces of audio in WebDataset's way: ``KEY.flac`` and beside it ``KEY.json`` with the
group (speaker, noise source), the split, the file it came from and its place in it. Which piece
goes where follows from the recordings alone (`shard_plan`), and every shard begins with a digest of
that. So the same recordings give the same bytes, and a run that was stopped keeps the shards that
are whole; each appears under its name only then.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

import soundfile

from audio_denoising.corpora.corpus import Recording
from audio_denoising.dsp.spectrum import SAMPLE_RATE, SEGMENT
from audio_denoising.errors import UserError
from audio_denoising.files import save_whole, whole_file
from audio_denoising.folders import single_run
from audio_denoising.mixing.mixing import SILENCE, DamagedRecording, Waveform, power, read_segment
from audio_denoising.mixing.shard_plan import Piece, plan
from audio_denoising.mixing.shards import INSTALL, Shard, ShardIndex

_PLAN = "__plan__/shard"  # readers of WebDataset shards pass over such a name


@dataclass
class Written:
    """What became of one split: its index, and why some recordings are not in its shards."""

    index: ShardIndex
    left_out: dict[Path, str]


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
        megabytes: see `plan`.
        force: replace an earlier set of other recordings.
        progress: told how many pieces are done, and how many there are.

    Raises:
        UserError: nothing to write, another set is there, no webdataset, or the disk is full.
    """
    try:
        import webdataset  # noqa: F401, before anything is touched
    except ImportError as error:
        raise UserError(f"Writing shards needs the webdataset library: {INSTALL}") from error
    shards = plan(recordings, folders, megabytes)
    jobs = {
        out / f"{what}-{split}-{number:06d}.tar": (pieces, _document(pieces, what, split))
        for number, pieces in enumerate(shards)
    }
    total, done, stop, lock = sum(map(len, shards)), 0, Event(), Lock()

    def tell(count: int) -> None:
        nonlocal done
        if stop.is_set():
            raise CancelledError
        with lock:
            done += count
            try:
                progress(done, total)
            except BaseException:
                stop.set()  # before this thread takes up its next shard
                raise

    def job(path: Path) -> tuple[Shard, dict[str, str], dict[Path, str]]:
        pieces, document = jobs[path]
        reasons: dict[Path, str] = {}
        if _document_of(path) == document:
            tell(len(pieces))
        else:
            reasons = _write(path, pieces, document, tell)
        shard, groups = _survey(path)
        missing = (piece.recording.path for piece in pieces if piece.key not in groups)
        return shard, groups, {file: reasons.get(file, "silent or damaged") for file in missing}

    with single_run(out), _plain_errors(out):
        _make_way(out, f"{what}-{split}", jobs, force=force)
        # libsndfile decodes and encodes without Python's lock, so threads work side by side.
        pool = ThreadPoolExecutor(max_workers=os.cpu_count())
        try:
            found = list(pool.map(job, jobs))
        finally:
            stop.set()  # Ctrl-C does not wait for whole shards
            pool.shutdown(cancel_futures=True)
        groups = sorted({group for _, of_keys, _ in found for group in of_keys.values()})
        if not groups:
            raise UserError(
                f"{' and '.join(map(str, folders))} leaves no {what} for the {split} split that "
                "can be used: add recordings, or choose another --split"
            )
        index = ShardIndex(what, split, groups, [shard for shard, _, _ in found])
        save_whole(
            out / index.name, lambda path: path.write_text(index.to_json(), encoding="utf-8")
        )
    return Written(index, {path: why for *_, missing in found for path, why in missing.items()})


def _document(pieces: Sequence[Piece], what: str, split: str) -> bytes:
    """The first member of a shard: what it is, and a digest of all that decides its content."""
    sources = [
        (p.key, p.describe(what, split), p.recording.rate, p.recording.path.stat().st_size)
        for p in pieces
    ]
    digest = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
    return json.dumps({"what": what, "split": split, "plan": digest}).encode()


def _document_of(path: Path) -> bytes | None:
    """The first member of the shard at ``path``; None if there is none."""
    try:
        with tarfile.open(path) as tar:
            member = tar.next()
            file = tar.extractfile(member) if member and member.name.startswith(_PLAN) else None
            return file.read() if file else None
    except (OSError, tarfile.TarError):
        return None


def _make_way(
    out: Path, name: str, jobs: Mapping[Path, tuple[object, bytes]], *, force: bool
) -> None:
    """Removes what is there of another set with this name, if ``force`` allows it."""
    there = [path for path in out.iterdir() if re.fullmatch(rf"{name}-\d+\.tar", path.name)]
    others = [path for path in there if path not in jobs or _document_of(path) != jobs[path][1]]
    if others and not force:
        raise UserError(
            f"{min(others)} holds other recordings, or the same ones written another way: choose "
            "another --out, or replace the set by --force"
        )
    if others:
        (out / f"{name}.json").unlink(missing_ok=True)
    for path in others:
        path.unlink()


def _write(
    path: Path, pieces: Sequence[Piece], document: bytes, tell: Callable[[int], None]
) -> dict[Path, str]:
    """Writes one shard, whole or not at all; says what had to be left out, and why."""
    import webdataset

    what, split = (json.loads(document)[key] for key in ("what", "split"))
    left_out: dict[Path, str] = {}
    fixed = {"user": "", "group": "", "mtime": 0}
    with (
        whole_file(path) as partial,
        partial.open("wb") as stream,
        webdataset.TarWriter(stream, encoder=False, compress=False, **fixed) as tar,
    ):
        tar.write({"__key__": _PLAN, "json": document})
        for piece in pieces:
            try:
                audio = read_segment(piece.recording, piece.start, piece.samples)
                # Below this no stretch of 2.55 s can be audible, wherever it begins.
                if power(audio) * len(audio) < SILENCE * SEGMENT:
                    left_out[piece.recording.path] = "silent"
                else:
                    tar.write(_member(piece, audio, what, split))
            except DamagedRecording as error:
                left_out[piece.recording.path] = str(error)
            tell(1)
    return left_out


def _member(piece: Piece, audio: Waveform, what: str, split: str) -> dict[str, Any]:
    """A piece as webdataset's writer takes it."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, SAMPLE_RATE, "PCM_16", format="FLAC")
    about = json.dumps(piece.describe(what, split), sort_keys=True)
    return {"__key__": piece.key, "flac": buffer.getvalue(), "json": about.encode()}


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
    checksum = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            checksum.update(block)
    seconds, size = round(samples / SAMPLE_RATE, 3), path.stat().st_size
    return Shard(path.name, len(groups), seconds, size, checksum.hexdigest()), groups


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
