"""Writes the cache of `prepared`: decodes every recording once and lays the samples end to end.

The file appears whole or not at all. Run again, it decodes only what is new or has changed; stopped
by Ctrl-C, it keeps what was decoded, and the next run goes on from there.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from audio_denoising.corpora.corpus import Recording
from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.files import whole_file
from audio_denoising.folders import single_run
from audio_denoising.mixing.mixing import DamagedRecording, Waveform, read_segment
from audio_denoising.mixing.prepared import (
    END,
    EXACT,
    FLOAT,
    FULL_SCALE,
    HEADER,
    TRAILER,
    Entry,
    PreparedAudio,
)

LONGEST = 600.0  # seconds: longer files would have to fit into memory; training seeks in them

_LOSSLESS = {".wav", ".flac", ".aif", ".aiff"}

Samples = npt.NDArray[Any]
Progress = Callable[[float, float], None]


@dataclass
class Preparation:
    """What a run did: recordings decoded, kept from the cache before, and left out with the reason.

    ``bytes`` is the size of the cache, ``seconds`` the audio in it.
    """

    decoded: int = 0
    kept: int = 0
    left_out: dict[Path, str] = field(default_factory=dict)
    bytes: int = 0
    seconds: float = 0.0


def prepare(
    recordings: Sequence[Recording],
    out: Path,
    progress: Progress = lambda done, total: None,
) -> Preparation:
    """Makes ``out`` hold exactly ``recordings``, except those that cannot be decoded or are long.

    Args:
        recordings: of any number of folders; the same file twice counts once.
        out: the cache; its folder is made. An earlier one is replaced.
        progress: told how many seconds of audio are done, and of how many.

    Raises:
        UserError: ``out`` is something else than a cache, the disk has no room, or another run is
            at work in the folder.
        KeyboardInterrupt: as it came, after saving what was done.
    """
    unique = list({recording.path: recording for recording in recordings}.values())
    wanted = [recording for recording in unique if recording.seconds <= LONGEST]
    report = Preparation()
    for recording in unique:
        if recording.seconds > LONGEST:
            report.left_out[recording.path] = f"longer than {LONGEST / 60:.0f} minutes"
    total = sum(recording.seconds for recording in wanted)

    def count(recording: Recording) -> None:
        report.seconds += recording.seconds
        progress(report.seconds, total)

    with single_run(out.resolve().parent):
        earlier = _earlier(out)
        kept: list[tuple[Entry, Samples]] = []
        new: list[Recording] = []
        for recording in wanted:
            found = _intact(earlier, recording) if earlier else None
            if found is None:
                new.append(recording)
            else:
                kept.append(found)
                count(recording)
        report.kept = len(kept)
        if new or not earlier or len(kept) < len(earlier.entries):
            _check_room(out, kept, new)
            least = len(earlier.entries) if earlier else 0
            _write(out, kept, new, report, count, least)
        report.bytes = out.stat().st_size
    return report


def _write(
    out: Path,
    kept: Sequence[tuple[Entry, Samples]],
    new: Sequence[Recording],
    report: Preparation,
    count: Callable[[Recording], None],
    least: int,
) -> None:
    """Writes ``kept`` and ``new``; if stopped, what is done, unless it is fewer than ``least``."""
    stopped: KeyboardInterrupt | None = None
    try:
        with whole_file(out) as part:
            with part.open("wb") as file:
                file.write(HEADER)
                entries = [_append(file, *each) for each in kept]
                try:
                    with closing(_decoded(new)) as results:
                        for recording, found in results:
                            if isinstance(found, str):
                                report.left_out[recording.path] = found
                            else:
                                entries.append(_append(file, *found))
                                report.decoded += 1
                            count(recording)
                except KeyboardInterrupt as interrupt:
                    stopped = interrupt
                _finish(file, entries)
            if stopped is not None and len(entries) < least:
                raise stopped
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror}): free some space or choose another --out"
        ) from error
    if stopped is not None:
        raise stopped


def _append(file: BinaryIO, entry: Entry, samples: Samples) -> Entry:
    """Writes the samples of ``entry`` at the end of ``file``; returns it with its new place."""
    offset = file.tell()
    file.write(samples.tobytes())
    return replace(entry, offset=offset)


def _finish(file: BinaryIO, entries: Sequence[Entry]) -> None:
    """Adds the index; what was half written behind the last entry is cut off."""
    end = max((entry.offset + entry.bytes for entry in entries), default=len(HEADER))
    file.seek(end)
    file.truncate()
    index = json.dumps([asdict(entry) for entry in entries]).encode()
    file.write(index)
    file.write(TRAILER.pack(end, len(index), zlib.crc32(index), END))
    file.flush()


def _decoded(
    recordings: Sequence[Recording],
) -> Generator[tuple[Recording, tuple[Entry, Samples] | str], None, None]:
    """Every recording in turn, with its samples or a few words on why there are none.

    libsndfile decodes without Python's lock, so threads decode side by side, a few files ahead.
    """
    workers = os.cpu_count() or 1
    waiting: deque[tuple[Recording, Future[tuple[Entry, Samples] | str]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for recording in recordings:
            waiting.append((recording, pool.submit(_decode, recording)))
            if len(waiting) > 2 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(recording: Recording) -> tuple[Entry, Samples] | str:
    try:
        status = recording.path.stat()  # before its sound: a change in between is a change
        samples = read_segment(recording, 0, recording.samples)
    except OSError as error:
        return error.strerror or "cannot be read"
    except DamagedRecording as error:
        return str(error).removeprefix(f"{recording.path}: ")
    kind, stored = _compact(samples)
    entry = Entry(
        path=str(recording.path),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        offset=0,
        samples=len(stored),
        kind=kind,
        crc32=zlib.crc32(stored.data),
    )
    return entry, stored


def _compact(samples: Waveform) -> tuple[str, Samples]:
    """16-bit integers where they give back the very same bits, the floats elsewhere."""
    scaled = samples * np.float32(FULL_SCALE)
    if np.abs(scaled).max(initial=0.0) < FULL_SCALE:
        whole = scaled.astype(EXACT)
        if (whole.astype(np.float32) / np.float32(FULL_SCALE)).tobytes() == samples.tobytes():
            return EXACT, whole
    return FLOAT, samples.astype(FLOAT)


def _earlier(out: Path) -> PreparedAudio | None:
    """The cache that is there already, if it can be read.

    Raises UserError for anything that is not a cache: nobody's files are overwritten.
    """
    if not out.exists():
        return None
    if not out.is_file():
        raise UserError(f"{out} is a folder: give --out the name of a file")
    with out.open("rb") as file:
        if file.read(len(HEADER)) != HEADER:
            raise UserError(
                f"{out} is something else than a cache of this version and is never replaced: "
                "choose another --out, or delete it"
            )
    try:
        return PreparedAudio(out)
    except UserError:  # damaged: made anew
        return None


def _intact(cache: PreparedAudio, recording: Recording) -> tuple[Entry, Samples] | None:
    """What the cache has of a recording that has not changed, if it is what was written."""
    entry = cache.entries.get(str(recording.path))
    if entry is None or not entry.is_of(recording):
        return None
    try:
        return entry, cache.stored(entry)
    except UserError:
        return None


def _check_room(out: Path, kept: Sequence[tuple[Entry, Samples]], new: Sequence[Recording]) -> None:
    """The new cache lies beside the old one for a while."""
    needed = sum(entry.bytes for entry, _ in kept)
    for recording in new:
        exact = recording.rate == SAMPLE_RATE and recording.path.suffix.lower() in _LOSSLESS
        needed += recording.samples * (2 if exact else 4)
    free = shutil.disk_usage(out.resolve().parent).free
    if needed > free:
        raise UserError(
            f"{out} needs about {needed / 1e9:.1f} GB of room, but {free / 1e9:.1f} GB are free: "
            "make room, or choose another --out"
        )
