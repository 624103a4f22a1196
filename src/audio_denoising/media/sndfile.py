"""libsndfile behind reader and writer: it reads WAV, AIFF and more, and writes WAV and Vorbis."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile

from audio_denoising.samples import Samples

ERRORS = (soundfile.SoundFileError, OSError, TypeError, ValueError)
"""What opening a file raises. TypeError: headerless .raw, which soundfile opens only with its rate
given. ValueError: a sample format that the container cannot hold."""

# Of these libsndfile reads the first of several joined recordings, loses the end of a FLAC that
# does not tell its length, mistakes the order of the channels in Ogg, and clicks in MP3.
_PARTIAL = ("FLAC", "OGG", "MP3")
_UNKNOWN_LENGTH = 2**60  # libsndfile's answer for a stream whose header leaves the length open
_SMALL = 1 << 17  # bytes: a page of sound, at most 65,307, behind those of the header
_FEW_PAGES = 4  # three of them for the header
_PIECE = 16_384  # of a piece that fails to decode nothing is left, so pieces are short
_TOLD = re.compile(r"^ *(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_MASK = re.compile(r"^ *Channel Mask *: 0x([0-9A-F]+)", re.MULTILINE)
# What libsndfile notes of a WAV that holds nothing beside its sound: no tags, marks, time code.
_PLAIN = re.compile(
    r"File : .*\nLength : \d+\nRIFF : .*\nWAVE\n(?:(?:fmt |fact|data|PEAK) : .*\n(?:  .*\n)*)+End\n"
)
# By the bits of the mask, from the lowest.
_SPEAKERS = ["FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR"]
_SPEAKERS += ["TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"]
_OPEN_LENGTH = 2**31 - 2**16
# Where Vorbis keeps the channels of FFmpeg's layouts 3.0, quad, 5.0, 5.1, 6.1 and 7.1.
_ORDER = {
    3: [0, 2, 1],
    5: [0, 2, 1, 3, 4],
    6: [0, 2, 1, 4, 5, 3],
    7: [0, 2, 1, 5, 6, 4, 3],
    8: [0, 2, 1, 6, 7, 4, 5, 3],
}
INTEGER_BITS = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
"""The sample formats of a WAV that libsndfile writes; in others it keeps the time of writing."""


class SndfileDecoder:
    """A file opened by libsndfile; the attributes are those of ``AudioReader``.

    Attributes:
        alone: no second recording can follow: libsndfile refuses a WAV with another behind it.
        exact: libsndfile reads all of what this format can hold.
        empty: the header tells of no samples.
        told: seconds of sound that the header tells of.

    Raises:
        ERRORS: libsndfile cannot open it.
    """

    track: int | None = None
    start = 0.0
    bit_rate = 0  # nothing that is compressed is written anew from here

    def __init__(self, path: Path) -> None:
        self._file = soundfile.SoundFile(_name(path))
        self.rate = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        self.subtype = str(self._file.subtype)
        partial = self._file.format in _PARTIAL or self.subtype.startswith("MPEG")
        self.alone = self._file.format in ("WAV", "WAVEX")
        self.exact = not partial or self._fits_one_page(path)
        frames = int(self._file.frames)
        self.empty = frames == 0
        self.frames = frames if frames < _UNKNOWN_LENGTH else 0
        self.damaged_at: int | None = None
        log = self._file.extra_info
        self.told = _told_frames(log, self.frames) / self.rate
        self.layout = _layout(log, self.channels)
        self.plain = _PLAIN.fullmatch(log) is not None

    def _fits_one_page(self, path: Path) -> bool:
        """A Vorbis that fits into one page of Ogg; of those FFmpeg loses the last block."""
        few = self.subtype == "VORBIS" and self.channels <= 2 and path.stat().st_size < _SMALL
        return few and path.read_bytes().count(b"OggS") <= _FEW_PAGES

    def pieces(self) -> Iterator[Samples]:
        """Decode on, ``(channels, n)`` at a time; sets ``damaged_at`` where it cannot go on."""
        done = 0
        while True:
            try:
                piece = self._file.read(_PIECE, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, OSError):
                self.damaged_at = done
                return
            if len(piece) == 0:
                break
            done += len(piece)
            yield piece.T
        if done == 0:
            self.damaged_at = done

    def notices(self) -> tuple[str, ...]:
        """What need not be damage: libsndfile knows of nothing."""
        return ()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SndfileEncoder:
    """A WAV of `INTEGER_BITS`, or ``VORBIS`` in Ogg, that libsndfile writes; `ERRORS` where that
    cannot hold this rate or number of channels."""

    left_out: tuple[str, ...] = ()

    def __init__(self, path: Path, rate: int, channels: int, subtype: str) -> None:
        self.subtype = subtype
        kind = "OGG" if subtype == "VORBIS" else "WAV"
        self._file = soundfile.SoundFile(_name(path), "w", rate, channels, subtype, format=kind)
        self._order = _ORDER.get(channels, list(range(channels)))

    def write(self, samples: Samples) -> None:
        """Append samples ``(channels, n)``; OSError where they cannot be written."""
        if self.subtype in INTEGER_BITS:
            raw = integers(samples, INTEGER_BITS[self.subtype])
        else:
            raw = samples[self._order]
        try:
            self._file.write(np.ascontiguousarray(raw.T))
        except (soundfile.SoundFileError, AssertionError) as error:
            # AssertionError: how soundfile reports that fewer samples were written than given.
            raise OSError from error

    def close(self) -> None:
        """Complete the file; OSError where it cannot be written."""
        try:
            self._file.close()
        except soundfile.SoundFileError as error:
            raise OSError from error

    def abort(self) -> None:
        """Close a file that will be thrown away."""
        with suppress(OSError):
            self.close()


def integers(samples: Samples, bits: int) -> np.ndarray:
    """Rounded and clipped, never wrapped, in the upper ``bits`` of 32: libsndfile takes those.

    Its own way from floats would take full scale for one less, and change what was only read.
    """
    scale = 2.0 ** (bits - 1)
    whole = np.clip(np.rint(samples.astype(np.float64) * scale), -scale, scale - 1)
    return whole.astype(np.int32) << (32 - bits)


def _told_frames(log: str, found: int) -> float:
    """Samples per channel that the header tells of, while libsndfile goes by the file's size.

    Recorders that do not know the length beforehand write one near 2 or 4 GiB: that tells nothing.
    """
    told = _TOLD.search(log)
    if told is None or not 0 < int(told[2]) < int(told[1]) < _OPEN_LENGTH:
        return found
    return found * int(told[1]) / int(told[2])


def _layout(log: str, channels: int) -> str:
    """FFmpeg's name for more than two channels with a mask of loudspeakers, as WAV has it; else "".

    FFmpeg is not asked: PyAV crashes at the other orders that AIFF and CAF may tell.
    """
    told = _MASK.search(log)
    mask = int(told[1], 16) if told is not None else 0
    speakers = [name for bit, name in enumerate(_SPEAKERS) if mask >> bit & 1]
    return "+".join(speakers) if len(speakers) == channels > 2 else ""


def _name(path: Path) -> str | bytes:
    """The name as soundfile takes it: on Unix the very bytes, which need not be UTF-8."""
    return str(path) if os.name == "nt" else os.fsencode(path)
