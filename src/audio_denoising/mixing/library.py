"""Recordings decoded once, as 16 kHz mono on one tape: in a folder that is kept, or in memory.

A folder holds ``samples`` (int16, every recording at the same peak), ``active`` (see `bank.Tape`)
and ``index.json``. What is missing is decoded and appended, so recordings may be added at any time
and a decoding that was stopped goes on; whatever the split, the weights or the version of a run,
it finds here what an earlier one has decoded. From the folder only what a batch needs is read, so
a corpus may be larger than the memory.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch

from audio_denoising.corpora.corpus import DamagedRecording, Recording, read_segment
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.files import save_whole
from audio_denoising.folders import single_run
from audio_denoising.mixing.bank import FRAME, Array, SoundBank, Tape, fair_chances

DEFAULT = Path("data/decoded")  # found by training unless it is told another folder
IN_MEMORY = 35.0  # hours (4 GB): what is longer goes to a folder
ON_DEVICE = 8 << 30  # bytes: a longer tape stays in main memory, and only crops go to a GPU

_PEAK = 30000  # of 32767: every recording uses the whole resolution, whatever its level was
_FAINT = 3e-4  # -70 dB re full scale: what is louder only there is the noise of a converter
_AT_ONCE = 256  # recordings decoded before they are written
_SAVE_EVERY = 60.0  # seconds between two states of the index
_VERSION = 1

Progress = Callable[[float, float], None]


class Entry(NamedTuple):
    """A recording on the tape, and the size and time of change of the file that was decoded.

    ``length`` is 0 where there is nothing to hear; then ``fault`` says why.
    """

    size: int
    mtime_ns: int
    start: int = 0
    length: int = 0
    gain: float = 0.0
    fault: str = ""


class Library:
    """Decoded recordings, to be read as banks.

    Args:
        folder: where they are kept, or None for memory.

    Raises:
        UserError: the folder holds something else, or is damaged.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        self._memory = io.BytesIO(), io.BytesIO()
        self._frames = self._count = 0  # on the tape, see there
        self._tape: tuple[torch.Tensor, Array] | None = None  # as banks share it
        if folder is not None and folder.exists():
            self._open_index()

    def missing(self, recordings: Sequence[Recording]) -> list[Recording]:
        """Those that are not here, or have changed since they were decoded."""
        return [each for each in recordings if not self._knows(each)]

    def add(
        self, recordings: Sequence[Recording], progress: Progress = lambda done, total: None
    ) -> int:
        """Decodes those that are missing, with all cores; how many that were.

        Ctrl-C keeps what has been done.

        Args:
            progress: told how many seconds are done, and of how many.

        Raises:
            UserError: the folder cannot be written, has no room, or another run is writing there.
        """
        missing = self.missing(recordings)
        if not missing:
            return 0
        self._tape = None
        total, done = sum(each.seconds for each in missing), 0.0
        with self._writing(total) as tape, _all_cores() as pool:
            saved = time.monotonic()
            for first in range(0, len(missing), _AT_ONCE):
                some = missing[first : first + _AT_ONCE]
                for recording, (entry, sound) in zip(some, pool.map(_decode, some), strict=True):
                    if sound is not None:
                        start, length = tape.append(sound)
                        entry = entry._replace(start=start, length=length)
                    self.entries[str(recording.path)] = entry
                    done += recording.seconds
                    progress(done, total)
                    if time.monotonic() - saved > _SAVE_EVERY:
                        self._save_index(tape)
                        saved = time.monotonic()
        return len(missing)

    def bank(
        self,
        recordings: Sequence[Recording],
        weights: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
    ) -> SoundBank:
        """Some of the recordings that are here, those with nothing to hear left out.

        Args:
            weights: see `fair_chances`.
            device: where the samples shall lie, if they are no more than `ON_DEVICE`.

        Raises:
            UserError: no recording has sound in it.
        """
        found = [(each, self.entries[str(each.path)]) for each in recordings]
        found = [(recording, entry) for recording, entry in found if entry.length]
        if not found:
            raise UserError(
                "None of the recordings to train on has sound in it; check the folders given."
            )
        kept, entries = zip(*found, strict=True)
        numbers = {name: n for n, name in enumerate(sorted({each.group for each in kept}))}
        if self._tape is None or self._tape[0].device.type != torch.device(device).type:
            samples, active = self._read_tape()
            if samples.nbytes > ON_DEVICE:
                device = "cpu"
            self._tape = torch.from_numpy(samples).to(device), active
        return SoundBank(
            *self._tape,
            np.array([entry.start for entry in entries]),
            np.array([entry.length for entry in entries]),
            np.array([numbers[each.group] for each in kept]),
            fair_chances(kept, weights),
            np.array([entry.gain for entry in entries]),
        )

    def damaged(self, recordings: Sequence[Recording]) -> list[Path]:
        """Those that could not be decoded."""
        return [r.path for r in recordings if self.entries[str(r.path)].fault == "damaged"]

    @property
    def bytes(self) -> int:
        """Size of what has been decoded, in the folder or in memory."""
        return self._frames * (2 * FRAME + 4)

    def _read_tape(self) -> tuple[Array, Array]:
        """Samples and active frames; from a folder they are read when they are needed."""
        if self.folder is None:
            samples, active = (buffer.getbuffer() for buffer in self._memory)
            return np.frombuffer(samples, np.int16), np.frombuffer(active, np.int32)
        # "c": torch wants memory that may be written to; nothing ever reaches the file.
        return (
            np.memmap(self.folder / "samples", np.int16, "c"),
            np.memmap(self.folder / "active", np.int32, "r"),
        )

    def _knows(self, recording: Recording) -> bool:
        entry = self.entries.get(str(recording.path))
        if entry is None:
            return False
        try:
            return _state(recording) == (entry.size, entry.mtime_ns)
        except OSError:
            return False

    @contextmanager
    def _writing(self, seconds: float) -> Iterator[Tape]:
        """The tape, open for appending; afterwards the index says what is on it."""
        if self.folder is None:
            tape = Tape(*self._memory, self._frames, self._count)
            yield tape
            self._frames, self._count = tape.frames, tape.count
            return
        try:
            with single_run(self.folder):
                self._open_index()  # again: nobody else writes any more
                free, needed = shutil.disk_usage(self.folder).free, seconds * SAMPLE_RATE * 2.02
                if free < needed:
                    raise UserError(
                        f"{self.folder} has {free / 1e9:.1f} GB of room, the decoded recordings "
                        f"take {needed / 1e9:.1f} GB: free some space, or name another --cache"
                    )
                with self._file("samples") as samples, self._file("active") as active:
                    tape = Tape(samples, active, self._frames, self._count)
                    try:
                        yield tape
                    finally:
                        self._save_index(tape)
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror or error}): free some space, "
                "or name another --cache"
            ) from error

    def _file(self, name: str) -> BinaryIO:
        """A file of the tape, behind its last whole recording: a kill may have left more."""
        assert self.folder is not None
        file = (self.folder / name).open("ab")
        file.truncate(self._size(name))
        return file

    def _size(self, name: str) -> int:
        """Bytes of a file of the tape, see `Tape`: a sample less than frames, or a count more."""
        if not self._frames:
            return 0
        return 2 * (self._frames * FRAME - 1) if name == "samples" else 4 * (self._frames + 1)

    def _save_index(self, tape: Tape) -> None:
        assert self.folder is not None
        for file in (tape.samples, tape.active):
            file.flush()
            os.fsync(file.fileno())
        self._frames, self._count = tape.frames, tape.count
        content = {
            "version": _VERSION,
            "frames": tape.frames,
            "active": tape.count,
            "recordings": self.entries,
        }
        text = json.dumps(content, ensure_ascii=True)
        save_whole(self.folder / "index.json", lambda path: path.write_text(text))

    def _open_index(self) -> None:
        folder = self.folder
        assert folder is not None
        if folder.is_file():
            raise UserError(f"{folder} is a file: decoded recordings lie in a folder, --cache DIR")
        try:
            content = json.loads((folder / "index.json").read_text())
            if content["version"] != _VERSION:
                raise ValueError("of another version")
            self._frames, self._count = content["frames"], content["active"]
            if any((folder / n).stat().st_size < self._size(n) for n in ("samples", "active")):
                raise ValueError("cut short")
            self.entries = {path: Entry(*found) for path, found in content["recordings"].items()}
        except FileNotFoundError:
            self.entries, self._frames, self._count = {}, 0, 0
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{folder} holds no readable recordings ({error}): delete it, and they are "
                "decoded anew"
            ) from error


def load_bank(recordings: Sequence[Recording]) -> SoundBank:
    """A bank of a few recordings, in memory.

    Raises:
        UserError: no recording has sound in it.
    """
    library = Library()
    library.add(recordings)
    return library.bank(recordings)


@contextmanager
def _all_cores() -> Iterator[ThreadPoolExecutor]:
    """Threads: libsndfile decodes without Python's lock. Ctrl-C does not wait for their work."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _state(recording: Recording) -> tuple[int, int]:
    status = recording.path.stat()
    return status.st_size, status.st_mtime_ns


def _decode(recording: Recording) -> tuple[Entry, Array | None]:
    """int16 ``(L,)`` at the common peak, or None where there is nothing to hear."""
    try:
        entry = Entry(*_state(recording))
        sound = read_segment(recording, 0, recording.samples)
    except OSError:
        return Entry(0, 0, fault="damaged"), None
    except DamagedRecording:
        return entry._replace(fault="damaged"), None
    sound = sound - sound.mean()
    peak = float(np.abs(sound).max(initial=0.0))
    if peak <= _FAINT:
        return entry._replace(fault="silent"), None
    whole = np.rint(sound * (_PEAK / peak)).astype(np.int16)
    return entry._replace(gain=peak * 32768 / _PEAK), whole
