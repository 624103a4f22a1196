"""Recordings that come through a pipe and leave through one: `denoise clean - < a.wav > b.wav`.

A pipe can be read only once, and an output appears whole or not at all; so what comes in is kept in
a temporary file, and what goes out as well, until it is complete. Memory stays bounded.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO

from audio_denoising.cleaning.settings import Job, Settings, checked_rate
from audio_denoising.errors import UserError

if TYPE_CHECKING:
    from audio_denoising.cleaning.recording import Report

PIPE = "-"
"""The name of standard input and output."""

_BLOCK = 1 << 20  # bytes, or samples of a channel
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


def clean_pipe(
    input: str,
    output: str | None,
    raw: Raw | None,
    settings: Settings,
    clean: Callable[[Job], Report],
) -> Report:
    """Cleans what comes through a pipe, or into one; one of the two ends may be a file.

    Args:
        input: a file, or `PIPE`.
        output: a file, `PIPE`, or None for that.
        raw: pipes carry bare samples of this kind; otherwise files of any format.
        settings: how to clean.
        clean: cleans one file into another.

    Raises:
        UserError: an end is a terminal, or cannot be read or written.
    """
    into_pipe = output is None or output == PIPE
    if (input == PIPE and sys.stdin.isatty()) or (into_pipe and sys.stdout.isatty()):
        raise UserError("- is for pipes, not for a terminal: denoise clean - < in.wav > out.wav")
    if output is not None and not into_pipe:  # before all that comes is read
        Job(input, output).check(settings)
    with TemporaryDirectory(prefix="denoise-") as folder:
        hidden = f"{folder}{os.sep}"  # messages speak of the pipe, not of where it is kept
        try:
            source = spool(sys.stdin.buffer, Path(folder), raw) if input == PIPE else Path(input)
            # Bare samples in a format without a limit on its size.
            kept = Path(folder) / f"standard output.{'w64' if raw else 'wav'}"
            report = clean(Job(str(source), str(kept) if into_pipe else str(output)))
            if into_pipe:
                pour(kept, sys.stdout.buffer, bare=raw is not None)
        except UserError as error:
            raise UserError(str(error).replace(hidden, "")) from error
    return replace(
        report,
        damage=report.damage.replace(hidden, ""),
        warnings=tuple(warning.replace(hidden, "") for warning in report.warnings),
    )


def spool(stream: BinaryIO, folder: Path, raw: Raw | None = None) -> Path:
    """Keeps all that comes through a pipe in a file, which can be read twice.

    Args:
        stream: the pipe.
        folder: for the file.
        raw: what comes are bare samples of this kind; otherwise a file of any format.

    Raises:
        UserError: nothing comes, the last bare sample is not whole, or the disk is full.
    """
    if raw is not None:
        return _spool_bare(stream, folder / "standard input.w64", raw)
    path = folder / "standard input"  # without an ending: it may be of any format
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file, _BLOCK)
    except OSError as error:
        raise UserError(
            f"the standard input cannot be kept in {folder} ({error.strerror}): free some space, "
            f"or set TMPDIR to another folder"
        ) from error
    return path


def _spool_bare(stream: BinaryIO, path: Path, raw: Raw) -> Path:
    import numpy as np

    from audio_denoising.media.writing import AudioWriter

    size = 2 * raw.channels
    rest = b""
    with AudioWriter(path, raw.rate, raw.channels, subtype="PCM_16") as writer:
        while data := stream.read(_BLOCK):
            data = rest + data
            whole = len(data) // size * size
            frames = np.frombuffer(data[:whole], "<i2").reshape(-1, raw.channels)
            writer.write(frames.T.astype(np.float32) / np.float32(2**15))
            rest = data[whole:]
        if rest:
            raise UserError(
                f"the raw input ends in the middle of a sample: is it 16-bit with {raw.channels} "
                f"channel(s), as --raw says"
            )
    return path


def pour(path: Path, stream: BinaryIO, *, bare: bool = False) -> None:
    """Sends a complete file into a pipe, or its bare samples.

    Raises:
        UserError: the program at the other end has stopped reading, or the disk behind is full.
    """
    try:
        if not bare:
            with path.open("rb") as file:
                shutil.copyfileobj(file, stream, _BLOCK)
        else:
            import soundfile

            for block in soundfile.blocks(path, _BLOCK, dtype="int16"):
                stream.write(block.astype("<i2").tobytes())
        stream.flush()
    except BrokenPipeError as error:
        raise UserError("the program that reads the output stopped before its end") from error
    except OSError as error:
        raise UserError(
            f"the standard output cannot be written ({error.strerror}): free some space, or send "
            f"it to another place"
        ) from error
