"""Recordings that come through a pipe and leave through one: `denoise clean - < a.wav > b.wav`.

A pipe can be read only once, and an output appears whole or not at all; so what comes in is kept in
a temporary file, and what goes out as well, until it is complete. Memory stays bounded.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from audio_denoising.cleaning.rate import checked_rate
from audio_denoising.errors import UserError

if TYPE_CHECKING:
    from audio_denoising.dsp.resampling import Samples

PIPE = "-"
"""The name of standard input and output."""

_BLOCK = 1 << 20  # bytes, or samples
_FULL_SCALE = 2**15
_MOST_CHANNELS = 1024


@dataclass(frozen=True)
class Raw:
    """Samples without a header: 16-bit signed little-endian, the channels interleaved."""

    rate: int
    channels: int

    @classmethod
    def parse(cls, text: str) -> Raw:
        """From ``RATE,CHANNELS``, such as ``48000,2``.

        Raises:
            UserError: it is something else.
        """
        try:
            rate, channels = (int(number) for number in text.split(","))
        except ValueError:
            rate, channels = 0, 0
        if rate < 1 or not 1 <= channels <= _MOST_CHANNELS:
            raise UserError(f"--raw {text} is not RATE,CHANNELS: give for example 48000,2")
        return cls(checked_rate(rate), channels)


def file_for(name: str, folder: Path, raw: Raw | None) -> Path:
    """The file that stands for a pipe: of a format without a limit on its size for bare samples."""
    return folder / f"{name}.{'w64' if raw else 'wav'}"


def spool(stream: BinaryIO, folder: Path, raw: Raw | None = None) -> Path:
    """Keeps all that comes through a pipe in a file, which can be read twice.

    Args:
        stream: the pipe.
        folder: for the file.
        raw: what comes are bare samples of this kind; otherwise a file of any format.

    Raises:
        UserError: nothing comes, the last bare sample is not whole, or the disk is full.
    """
    if raw is None:
        path = folder / "standard input"  # without an ending: it may be of any format
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(stream, file, _BLOCK)
        except OSError as error:
            raise UserError(
                f"the standard input cannot be kept in {folder} ({error.strerror}): free some space"
                f", or set TMPDIR to another folder"
            ) from error
        return path
    from audio_denoising.media.writing import AudioWriter

    path = file_for("standard input", folder, raw)
    with AudioWriter(path, raw.rate, raw.channels, subtype="PCM_16") as writer:
        for samples in _raw_blocks(stream, raw.channels):
            writer.write(samples)
    return path


def _raw_blocks(stream: BinaryIO, channels: int) -> Iterator[Samples]:
    import numpy as np

    size = 2 * channels
    rest = b""
    while data := stream.read(_BLOCK):
        data = rest + data
        whole = len(data) // size * size
        rest = data[whole:]
        frames = np.frombuffer(data[:whole], "<i2").reshape(-1, channels)
        yield frames.T.astype(np.float32) / np.float32(_FULL_SCALE)
    if rest:
        raise UserError(
            f"the raw input ends in the middle of a sample: is it 16-bit with {channels} "
            f"channel(s), as --raw says"
        )


def pour(path: Path, stream: BinaryIO, raw: Raw | None = None) -> None:
    """Sends a complete file into a pipe; with ``raw`` its bare samples.

    Raises:
        UserError: the program at the other end has stopped reading, or the disk behind is full.
    """
    try:
        if raw is None:
            with path.open("rb") as file:
                shutil.copyfileobj(file, stream, _BLOCK)
        else:
            import numpy as np

            from audio_denoising.media.reading import AudioReader

            with AudioReader(path) as reader:
                for block in reader.blocks(_BLOCK):
                    scaled = np.rint(block.T * np.float32(_FULL_SCALE))
                    integers = np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2")
                    stream.write(integers.tobytes())
        stream.flush()
    except BrokenPipeError as error:
        raise UserError("the program that reads the output stopped before its end") from error
    except OSError as error:
        raise UserError(
            f"the standard output cannot be written ({error.strerror}): free some space, or send "
            f"it to another place"
        ) from error
