"""Sound that goes through a pipe while it goes on: bare samples, or a WAV with an open end."""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audio_denoising.errors import UserError
from audio_denoising.files import appends
from audio_denoising.media.reading import SHORT, not_numbers, sensible
from audio_denoising.media.sndfile import ERRORS, INTEGER_BITS, integers
from audio_denoising.media.writing import beyond_scale, too_loud
from audio_denoising.samples import Samples

BYTES = {subtype: bits // 8 for subtype, bits in INTEGER_BITS.items()} | {"FLOAT": 4, "DOUBLE": 8}
"""The sample formats that can go through a pipe, in libsndfile's words: bytes of each."""

_BLOCK = 1 << 20  # bytes that are taken at most where so many have come; a pipe holds 2^16
_LONGEST_CHUNK = 1 << 24  # bytes: a longer one before the samples is no description
_OPEN = 2**32 - 1  # the size that FFmpeg writes where it does not know


@dataclass(frozen=True)
class Raw:
    """Samples without a header, little-endian, the channels interleaved; subtypes are `BYTES`."""

    rate: int
    channels: int
    subtype: str = "PCM_16"

    @property
    def size(self) -> int:
        """Bytes of one sample of all channels."""
        return BYTES[self.subtype] * self.channels

    # Not by libsndfile: a signal that comes while it calls Python for the bytes would be lost.

    def decoded(self, data: bytes) -> Samples:
        """Whole samples -> ``(channels, n)`` with full scale at 1."""
        width = BYTES[self.subtype]
        if self.subtype in INTEGER_BITS:  # into the upper bytes of 32 bits
            wide = np.zeros((len(data) // width, 4), np.uint8)
            wide[:, -width:] = np.frombuffer(data, np.uint8).reshape(-1, width)
            numbers = (wide.view("<i4") ^ self._zero).astype(np.float32) / np.float32(2**31)
        else:
            with np.errstate(over="ignore"):  # a DOUBLE beyond all measure becomes infinite
                numbers = np.frombuffer(data, f"<f{width}").astype(np.float32)
        return np.ascontiguousarray(numbers.reshape(-1, self.channels).T)

    def encoded(self, samples: Samples) -> bytes:
        """Samples ``(channels, n)`` -> bytes; integers are rounded and clipped."""
        width = BYTES[self.subtype]
        if self.subtype not in INTEGER_BITS:
            return samples.T.astype(f"<f{width}").tobytes()
        numbers = (integers(samples, INTEGER_BITS[self.subtype]) ^ self._zero).T.astype("<i4")
        return numbers.reshape(-1, 1).view(np.uint8)[:, -width:].tobytes()

    @property
    def _zero(self) -> np.int32:
        """What silence is, in 32 bits."""
        return np.int32(-(2**31) if self.subtype == "PCM_U8" else 0)


@dataclass(frozen=True)
class WavHead:
    """What stands before the samples of a WAV, and what is told of the rest."""

    raw: Raw
    chunks: bytes  # before the samples, as they came
    length: int | None  # bytes of samples; None where the sender does not know
    behind: int = 0  # bytes of the chunks behind the samples

    def __bytes__(self) -> bytes:
        riff = data = _OPEN
        if self.length is not None:
            riff = min(len(self.chunks) + 12 + self.length + self.behind, _OPEN)
            data = min(self.length, _OPEN)
        return (
            struct.pack("<4sI4s", b"RIFF", riff, b"WAVE")
            + self.chunks
            + struct.pack("<4sI", b"data", data)
        )


def read_head(pipe: BinaryIO) -> tuple[WavHead | None, bytes]:
    """Reads a pipe up to the first sample of a WAV: what it tells, and all that was read.

    None for the first if it is no WAV of one of `BYTES`.
    """
    taken, chunks = pipe.read(12), b""
    if taken[:4] != b"RIFF" or taken[8:] != b"WAVE":
        return None, taken
    while True:
        taken += (start := pipe.read(8))
        if len(start) < 8:
            return None, taken
        name, size = struct.unpack("<4sI", start)
        if name == b"data":
            break
        if size > _LONGEST_CHUNK:
            return None, taken
        taken += (body := pipe.read(size + size % 2))
        if name != b"PEAK":  # the loudest sample, of which nothing is known yet
            chunks += start + body
    try:
        # A few samples of silence make it a file.
        with soundfile.SoundFile(io.BytesIO(taken[:-4] + bytes(4) + bytes(1 << 16))) as file:
            raw = Raw(int(file.samplerate), int(file.channels), str(file.subtype))
    except ERRORS:
        return None, taken
    if raw.subtype not in BYTES:
        return None, taken
    if size == 0 or size >= 2**32 - 2**16 or abs(size - 2**31) <= 2**16:
        return WavHead(raw, chunks, None), taken  # what senders write that do not know
    riff = int.from_bytes(taken[4:8], "little") + 8
    size -= size % raw.size
    return WavHead(raw, chunks, size, max(0, riff - len(taken) - size)), taken


class PipedSound:
    """What comes through a pipe from its first sample on, in blocks, each as soon as it is there.

    After `blocks` damage and notices are told as in `AudioReader`.
    """

    def __init__(self, pipe: BinaryIO, raw: Raw, head: WavHead | None = None) -> None:
        self.raw, self.head, self._pipe = raw, head, pipe
        self.samples, self.damage = 0, ""  # samples of each channel, so far
        self.notices: tuple[str, ...] = ()

    def blocks(self) -> Iterator[Samples]:
        """The samples ``(channels, n)``, up to the end or to the first that is not a number."""
        rate, size = self.raw.rate, self.raw.size
        told = self.head.length if self.head is not None else None
        came, rest = 0, b""
        while data := self._read(_BLOCK if told is None else told - came):
            came += len(data)
            data = rest + data
            whole = len(data) // size * size
            rest = data[whole:]
            if not whole:
                continue
            block = self.raw.decoded(data[:whole])
            good = sensible(block).all(axis=0)
            if not good.all():
                self.damage = not_numbers("standard input", rate, self.samples, block)
                block = block[:, : int(np.argmin(good))]
            self.samples += block.shape[1]
            yield block
            if self.damage:
                return
        seconds = self.samples / rate
        if rest:
            self.damage = (
                f"standard input ends in the middle of a sample, after {seconds:.2f} s: it is not "
                f"{self.raw.subtype} of {self.raw.channels} channel(s), or its sender was stopped"
            )
        elif told is not None and (told - came) / size > SHORT * rate:
            self.notices = (
                f"standard input ends after {seconds:.2f} s, though it tells of "
                f"{told / size / rate:.2f} s: if that is too early, send it again",
            )

    def behind(self) -> Iterator[bytes]:
        """What a WAV has behind its samples."""
        if self.head is None or self.head.length is None or self.damage:
            return
        left = self.head.behind
        while data := self._read(left):
            left -= len(data)
            yield data
        if self._read(1):
            self.notices += (
                "standard input goes on behind the end of its recording, which is not read: send "
                "recordings one by one",
            )

    def _read(self, most: int) -> bytes:
        """What has come, at least a byte but at the end; nothing if nothing is wanted."""
        read = self._pipe.read1  # type: ignore[attr-defined]
        return bytes(read(min(most, _BLOCK))) if most else b""


class PipedWriter:
    """Sends a sound on as it came, but for its samples; use it in a ``with`` block.

    Each block leaves at once. Behind a header that could not know the length, or told a wrong one,
    sizes are put right if the output is a file and no pipe. `notices` are as in `AudioWriter`.
    """

    path = Path("standard output")

    def __init__(self, pipe: BinaryIO, sound: PipedSound) -> None:
        self.notices: tuple[str, ...] = ()
        self._pipe, self._sound = pipe, sound
        self._length = self._beyond = 0  # bytes and samples, so far

    def write(self, samples: Samples) -> None:
        """Sends samples ``(channels, n)``; UserError as in `sending`."""
        raw = self._sound.raw
        data = raw.encoded(samples)
        with sending(self._pipe):
            if not self._length:
                self._pipe.write(bytes(self._sound.head or b""))
            self._pipe.write(data)
        self._length += len(data)
        self._beyond += beyond_scale(samples, raw.subtype)

    def __enter__(self) -> PipedWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        self.notices = too_loud(self._beyond, self.path)
        head, pipe, length = self._sound.head, self._pipe, self._length
        if raised[0] is not None or head is None:
            return
        with sending(pipe):
            for data in self._sound.behind():
                pipe.write(data)
            if length not in (0, head.length) and pipe.seekable() and not appends(pipe):
                pipe.write(bytes(length % 2))
                true = bytes(replace(head, length=length, behind=length % 2))
                pipe.seek(-len(true) - length - length % 2, os.SEEK_CUR)
                pipe.write(true)
                pipe.seek(0, os.SEEK_END)


@contextmanager
def sending(pipe: BinaryIO) -> Iterator[None]:
    """What is written in the block leaves at its end.

    Raises:
        UserError: nobody reads any more, or the disk is full.
    """
    try:
        yield
        pipe.flush()
    except BaseException as error:
        # Python would try once more at its end to write what is left, and fail with a traceback.
        with suppress(OSError):
            if pipe.fileno() == sys.stdout.fileno():
                os.dup2(os.open(os.devnull, os.O_WRONLY), pipe.fileno())
        if isinstance(error, BrokenPipeError):
            raise UserError("the program that reads the output stopped before its end") from error
        if isinstance(error, OSError):
            raise UserError(
                f"the standard output cannot be written ({error.strerror}): free some space, or "
                f"send it to another place"
            ) from error
        raise
