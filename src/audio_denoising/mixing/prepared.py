"""The cache: decoded audio at 16 kHz mono in one file, so that reading any place in it is cheap.

`denoise data prepare` writes it (see `preparation`), training reads it in place of the recordings.
Both mean ``data/prepared.cache`` unless they are told another name, so training uses it when it is
there and says so::

    cache = open_cache(None, speech + noise)       # None where there is no such file
    read = read_segment if cache is None else cache.read_segment

The answers are those of `mixing.read_segment`, cut from the recording decoded as a whole. Of WAV
and FLAC files at 16 kHz these are the same bits as those of decoding a stretch, so batches are the
same with the cache and without. Elsewhere decoding a stretch comes close to it: of WAV and FLAC at
other rates within 2e-6 of full scale (-114 dB), which is how finely the resampler rounds; of Opus,
MP3 and Vorbis as far as their decoders, started in the middle, agree with themselves.

A recording whose size or time of change is not what it was is decoded as if the cache did not know
it. What was written is checked before it is used: a damaged cache is an error, never noise.

The file: a line that says what it is, padded to 64 bytes; the samples, little-endian; an index in
JSON; and where that is. Samples are 16-bit integers where these hold the sound exactly, as with
most corpora at 16 kHz, and 32-bit floats elsewhere.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_denoising.corpora.corpus import Recording
from audio_denoising.errors import UserError
from audio_denoising.mixing.mixing import Waveform, read_segment

DEFAULT = Path("data/prepared.cache")

HEADER = b"audio-denoising cache, version 1\n".ljust(64)
TRAILER = struct.Struct("<QQL8s")  # where the index starts, its length, its checksum, the mark
END = b"the end\n"

EXACT, FLOAT = "<i2", "<f4"  # how samples are stored
FULL_SCALE = 32_768.0  # of 16-bit integers, as libsndfile reads them


@dataclass(frozen=True)
class Entry:
    """One recording in the cache.

    Attributes:
        path, size, mtime_ns: of the file that was decoded.
        offset, samples: where its samples start in the cache, in bytes, and how many they are.
        kind: `EXACT` or `FLOAT`. crc32: checksum of their bytes.
    """

    path: str
    size: int
    mtime_ns: int
    offset: int
    samples: int
    kind: str
    crc32: int

    @property
    def bytes(self) -> int:
        """Length in the cache."""
        return self.samples * np.dtype(self.kind).itemsize

    def is_of(self, recording: Recording) -> bool:
        """Whether the recording is still the one that was decoded."""
        try:
            status = recording.path.stat()
        except OSError:
            return False
        found = (status.st_size, status.st_mtime_ns, recording.samples)
        return found == (self.size, self.mtime_ns, self.samples)


class PreparedAudio:
    """A cache that is open for reading. Worker processes get it too, and map the file themselves.

    Attributes:
        path: the file. entries: what it holds, by the path of the recording.

    Raises:
        UserError: the file is no cache, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = {entry.path: entry for entry in self._index()}
        self._current: dict[Path, Entry] = {}
        self._counts = (0, 0, 0)
        self._map: npt.NDArray[np.uint8] | None = None
        self._checked: set[str] = set()

    def admit(self, recordings: Iterable[Recording]) -> None:
        """From now on these are answered from the cache, as far as they are in it and unchanged."""
        known = [(each, self.entries.get(str(each.path))) for each in recordings]
        self._current = {
            each.path: entry for each, entry in known if entry is not None and entry.is_of(each)
        }
        held = sum(entry is not None for _, entry in known)
        inside = sum(each.path in self._current for each, _ in known)
        self._counts = (len(known), inside, held - inside)

    @property
    def summary(self) -> str:
        """A sentence on what is read from here and what is not."""
        count, inside, changed = self._counts
        text = f"{inside} of {count} recordings are read from {self.path}"
        if inside == count:
            return text
        others = f"the other {count - inside} are decoded"
        if changed:
            were = f"{changed} of them changed since it was made"
            return f"{text}, {others}; {were}: `denoise data prepare` brings it up to date"
        return f"{text}, {others}"

    def read_segment(self, recording: Recording, start: int, length: int) -> Waveform:
        """As `mixing.read_segment`; what was not admitted is decoded.

        Raises:
            UserError: the cache is damaged. DamagedRecording: as there.
        """
        entry = self._current.get(recording.path)
        if entry is None:
            return read_segment(recording, start, length)
        stored = self.stored(entry)[start : start + length]
        if entry.kind == EXACT:
            return stored.astype(np.float32) / np.float32(FULL_SCALE)
        return stored.astype(np.float32)

    def stored(self, entry: Entry) -> npt.NDArray[Any]:
        """The samples of ``entry`` as they are stored; checked when they are first asked for.

        Raises:
            UserError: they are not what was written.
        """
        if self._map is None:
            self._map = np.asarray(np.memmap(self.path, np.uint8, "r"))
        raw = self._map[entry.offset : entry.offset + entry.bytes]
        if entry.path not in self._checked:
            if len(raw) != entry.bytes or zlib.crc32(raw.data) != entry.crc32:
                raise UserError(
                    f"{self.path} is damaged where it holds {entry.path}: run `denoise data "
                    "prepare` again, or delete it"
                )
            self._checked.add(entry.path)
        return raw.view(entry.kind)

    def _index(self) -> list[Entry]:
        try:
            with self.path.open("rb") as file:
                if file.read(len(HEADER)) != HEADER:
                    raise UserError(
                        f"{self.path} is not a cache that this version of `denoise data prepare` "
                        "wrote: name another file, or delete it"
                    )
                end = file.seek(0, 2) - TRAILER.size
                file.seek(max(0, end))
                start, length, crc32, mark = TRAILER.unpack(file.read(TRAILER.size))
                if mark == END and start + length == end:
                    file.seek(start)
                    text = file.read(length)
                    if zlib.crc32(text) == crc32:
                        return [Entry(**entry) for entry in json.loads(text)]
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error.strerror})") from error
        except struct.error:  # shorter than a trailer
            pass
        raise UserError(
            f"{self.path} is cut short or damaged: run `denoise data prepare` again, or delete it"
        )

    def __getstate__(self) -> dict[str, Any]:
        # A map would be copied into the message as a whole.
        return {**self.__dict__, "_map": None, "_checked": set()}


def open_cache(path: Path | None, recordings: Iterable[Recording]) -> PreparedAudio | None:
    """The cache for a run over ``recordings``; its `summary` is what to tell the user.

    Args:
        path: the file; None stands for `DEFAULT`, if there is one.
        recordings: all that the run may read.

    Raises:
        UserError: a file that was named does not exist, or it is no cache, or damaged.
    """
    place = DEFAULT if path is None else path
    if not place.exists():
        if path is None:
            return None
        raise UserError(f"{path} does not exist: `denoise data prepare --out {path}` makes it")
    cache = PreparedAudio(place)
    cache.admit(recordings)
    return cache
