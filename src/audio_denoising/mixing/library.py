"""Recordings decoded once, as 16 kHz mono on a tape in memory; `kept_library` keeps it on disk."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from audio_denoising.corpora.corpus import DamagedRecording, Recording, read_segment
from audio_denoising.errors import UserError
from audio_denoising.mixing.bank import FRAME, Array, SoundBank, Tape, fair_chances

ON_DEVICE = 8 << 30  # bytes: a longer tape stays in main memory, and only crops go to a GPU

_PEAK = 30000  # of 32767: every recording uses the whole resolution, whatever its level was
_FAINT = 3e-4  # -70 dB re full scale: what is louder only there is the noise of a converter
_AT_ONCE = 256  # recordings decoded before they are written

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
    """Decoded recordings, to be read as banks; ``folder`` is where they are kept, if they are."""

    folder: Path | None = None

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._memory = io.BytesIO(), io.BytesIO()
        self._frames = self._count = 0  # on the tape, see there
        self._tape: tuple[torch.Tensor, Array] | None = None  # as banks share it

    def missing(self, recordings: Sequence[Recording]) -> list[Recording]:
        """Those that are not here."""
        return [each for each in recordings if str(each.path) not in self.entries]

    def add(
        self, recordings: Sequence[Recording], progress: Progress = lambda done, total: None
    ) -> int:
        """Decodes those that are missing, with all cores; how many that were.

        The progress is told how many seconds are done, and of how many.
        """
        missing = self.missing(recordings)
        if not missing:
            return 0
        self._tape = None
        total, done = sum(each.seconds for each in missing), 0.0
        with self._writing(total) as tape, all_cores() as pool:
            for first in range(0, len(missing), _AT_ONCE):
                some = missing[first : first + _AT_ONCE]
                for recording, (entry, sound) in zip(some, pool.map(_decode, some), strict=True):
                    if sound is not None:
                        start, length = tape.append(sound)
                        entry = entry._replace(start=start, length=length)
                    self.entries[str(recording.path)] = entry
                    done += recording.seconds
                    progress(done, total)
                    self._written(tape)
        return len(missing)

    def bank(
        self,
        recordings: Sequence[Recording],
        weights: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
    ) -> SoundBank:
        """Some of the recordings that are here, those with nothing to hear left out.

        They lie on the device if they are no more than `ON_DEVICE`; the weights are those of
        `fair_chances`. UserError where no recording has sound in it.
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
        """Size of what has been decoded."""
        return self._frames * (2 * FRAME + 4)

    def _read_tape(self) -> tuple[Array, Array]:
        """Samples and active frames."""
        samples, active = (buffer.getbuffer() for buffer in self._memory)
        return np.frombuffer(samples, np.int16), np.frombuffer(active, np.int32)

    @contextmanager
    def _writing(self, seconds: float) -> Iterator[Tape]:
        """The tape, open for appending."""
        tape = Tape(*self._memory, self._frames, self._count)
        yield tape
        self._frames, self._count = tape.frames, tape.count

    def _written(self, tape: Tape) -> None:
        """Something has been appended."""


def load_bank(recordings: Sequence[Recording]) -> SoundBank:
    """A bank of a few recordings, in memory; UserError where none has sound in it."""
    library = Library()
    library.add(recordings)
    return library.bank(recordings)


@contextmanager
def all_cores() -> Iterator[ThreadPoolExecutor]:
    """Threads: libsndfile decodes without Python's lock. Ctrl-C does not wait for their work."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def state(recording: Recording) -> tuple[int, int]:
    """Size and time of change of its file."""
    status = recording.path.stat()
    return status.st_size, status.st_mtime_ns


def _decode(recording: Recording) -> tuple[Entry, Array | None]:
    """int16 ``(L,)`` at the common peak, or None where there is nothing to hear."""
    try:
        entry = Entry(*state(recording))
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
