"""Decoded recordings in a folder: whatever the split, the weights or the version of a run, it finds
what an earlier one has decoded.

The folder holds ``samples`` (int16, every recording at the same peak), ``active`` (see `bank.Tape`)
and ``index.json``. What is missing is decoded and appended, so recordings may be added at any time
and a decoding that was stopped goes on. From the folder only what a batch needs is read, so a
corpus may be larger than the memory.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from audio_denoising.corpora.corpus import Recording
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.files import save_whole, single_run
from audio_denoising.folders import refuse_file
from audio_denoising.mixing.bank import FRAME, Array, Tape
from audio_denoising.mixing.library import Entry, Library, state

DEFAULT = Path("data/decoded")  # found by training unless it is told another folder

_SAVE_EVERY = 60.0  # seconds between two states of the index
_VERSION = 1


class KeptLibrary(Library):
    """Decoded recordings in ``folder``. `add` raises UserError where it cannot be written, has no
    room or another run is writing there; after Ctrl-C it keeps what has been done.

    Raises:
        UserError: the folder holds something else, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder: Path = folder
        self._saved = 0.0
        if folder.exists():
            self._open_index()

    def missing(self, recordings: Sequence[Recording]) -> list[Recording]:
        """Those that are not here, or have changed since they were decoded."""
        return [each for each in recordings if not self._knows(each)]

    def _knows(self, recording: Recording) -> bool:
        entry = self.entries.get(str(recording.path))
        try:
            return entry is not None and state(recording) == (entry.size, entry.mtime_ns)
        except OSError:
            return False

    def _read_tape(self) -> tuple[Array, Array]:
        """Samples and active frames, read when they are needed."""
        # "c": torch wants memory that may be written to; nothing ever reaches the file.
        return (
            np.memmap(self.folder / "samples", np.int16, "c"),
            np.memmap(self.folder / "active", np.int32, "r"),
        )

    @contextmanager
    def _writing(self, seconds: float) -> Iterator[Tape]:
        """The tape, open for appending; afterwards the index says what is on it."""
        self._saved = time.monotonic()
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
        file = (self.folder / name).open("ab")
        file.truncate(self._size(name))
        return file

    def _size(self, name: str) -> int:
        """Bytes of a file of the tape, see `Tape`: a sample less than frames, or a count more."""
        if not self._frames:
            return 0
        return 2 * (self._frames * FRAME - 1) if name == "samples" else 4 * (self._frames + 1)

    def _written(self, tape: Tape) -> None:
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self._save_index(tape)
            self._saved = time.monotonic()

    def _save_index(self, tape: Tape) -> None:
        for file in (tape.samples, tape.active):
            file.flush()
            os.fsync(file.fileno())
        self._frames, self._count = tape.frames, tape.count
        place = {"version": _VERSION, "frames": tape.frames, "active": tape.count}
        text = json.dumps({**place, "recordings": self.entries})
        save_whole(self.folder / "index.json", lambda path: path.write_text(text))

    def _open_index(self) -> None:
        folder = self.folder
        refuse_file(folder, "--cache")
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
