"""Recordings that come through a pipe and leave through one: `denoise clean - < a.wav > b.wav`.

What can be is cleaned as it comes (`cleaning.live_pipe`). Of the rest all that comes is kept in a
temporary file, as a pipe can be read only once, and what goes out as well, until it is complete.
Memory stays bounded.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO

from audio_denoising.cleaning.settings import Job, Settings, checked_rate
from audio_denoising.errors import UserError

if TYPE_CHECKING:
    from audio_denoising.cleaning.cleaner import Cleaner
    from audio_denoising.cleaning.recording import Report
    from audio_denoising.media.piped import Raw

PIPE = "-"
"""The name of standard input and output."""

_BLOCK = 1 << 20  # bytes, or samples of a channel
_MOST_CHANNELS = 1024
_FORMATS = {"s16le": "PCM_16", "f32le": "FLOAT"}  # FFmpeg's words -> libsndfile's


def parse_raw(text: str) -> Raw:
    """Bare samples from ``RATE,CHANNELS[,FORMAT]``, as ``48000,2,f32le``; UserError for others."""
    try:
        rate, channels = (int(number) for number in text.split(",")[:2])
        (subtype,) = (_FORMATS[name] for name in text.split(",")[2:] or ["s16le"])
    except (ValueError, KeyError):
        rate, channels, subtype = 0, 0, ""
    if rate < 1 or not 1 <= channels <= _MOST_CHANNELS:
        raise UserError(
            f"--raw {text} is not RATE,CHANNELS or RATE,CHANNELS,FORMAT, with s16le or f32le for "
            f"the format: give for example 48000,2"
        )
    from audio_denoising.media.piped import Raw

    return Raw(checked_rate(rate), channels, subtype)


def clean_pipe(
    input: str,
    output: str | None,
    raw: Raw | None,
    settings: Settings,
    load: Callable[[], Cleaner | None],
    clean: Callable[[Job], Report],
) -> Report:
    """Cleans what comes through a pipe, or into one; one of the two ends may be a file.

    Args:
        input: a file, or `PIPE`.
        output: a file, `PIPE`, or None for that.
        raw: pipes carry bare samples of this kind; otherwise files of any format.
        settings: how to clean.
        load: gives what cleans, or None for what cannot before all has come.
        clean: cleans one file into another.

    UserError where an end is a terminal, or cannot be read or written.
    """
    into_pipe = output is None or output == PIPE
    ends = [*([sys.stdin] if input == PIPE else []), *([sys.stdout] if into_pipe else [])]
    if any(end is None or end.isatty() for end in ends):  # None: it is closed
        raise UserError("- is for pipes, not for a terminal: denoise clean - < in.wav > out.wav")
    if output is not None and not into_pipe:  # before all that comes is read
        Job(input, output).check(settings)
    with TemporaryDirectory(prefix="denoise-") as name:
        folder, hidden = Path(name), f"{name}{os.sep}"  # messages do not speak of where it is kept
        try:
            report, source = None, Path(input)
            if input == PIPE:
                from audio_denoising.media.piped import PipedSound, read_head

                pipe = sys.stdin.buffer
                head, taken = read_head(pipe) if raw is None else (None, b"")
                kind = raw if head is None else head.raw
                if kind is not None:  # else no network is loaded for it yet
                    from audio_denoising.cleaning.live_pipe import clean_as_it_comes

                    sound, to = PipedSound(pipe, kind, head), None if into_pipe else output
                    report = clean_as_it_comes(load(), sound, to, settings, folder)
                if report is None:
                    source = spool(pipe, folder, raw, taken)
            if report is None:
                # Bare samples in a format without a limit on its size.
                kept = folder / f"standard output.{'w64' if raw else 'wav'}"
                report = clean(Job(str(source), str(kept) if into_pipe else str(output)))
                if into_pipe:
                    pour(kept, sys.stdout.buffer, raw)
        except UserError as error:
            raise UserError(str(error).replace(hidden, "")) from error
        except OSError as error:
            if input != PIPE or error.filename:
                raise
            raise UserError(
                f"standard input cannot be read ({error.strerror}): send it a recording"
            ) from error
    return replace(
        report,
        damage=report.damage.replace(hidden, ""),
        warnings=tuple(warning.replace(hidden, "") for warning in report.warnings),
    )


def spool(stream: BinaryIO, folder: Path, raw: Raw | None = None, taken: bytes = b"") -> Path:
    """Keeps all that comes through a pipe in a file in a folder, behind what was `taken` before.

    UserError where nothing comes, the last bare sample is not whole, or the disk is full.
    """
    if raw is not None:
        return _spool_bare(stream, folder / "standard input.w64", raw)
    path = folder / "standard input"  # without an ending: it may be of any format
    try:
        with path.open("wb") as file:
            file.write(taken)
            shutil.copyfileobj(stream, file, _BLOCK)
    except OSError as error:
        raise UserError(
            f"the standard input cannot be kept in {folder} ({error.strerror}): free some space, "
            f"or set TMPDIR to another folder"
        ) from error
    return path


def _spool_bare(stream: BinaryIO, path: Path, raw: Raw) -> Path:
    from audio_denoising.media.piped import PipedSound
    from audio_denoising.media.writing import AudioWriter

    sound = PipedSound(stream, raw)
    with AudioWriter(path, raw.rate, raw.channels, subtype=raw.subtype) as writer:
        for block in sound.blocks():
            writer.write(block)
        if sound.damage or not sound.samples:
            raise UserError(sound.damage or "standard input holds no samples: record it again")
    return path


def pour(path: Path, stream: BinaryIO, raw: Raw | None = None) -> None:
    """Sends a complete file into a pipe, or its bare samples; UserError as in `sending`."""
    import soundfile

    from audio_denoising.media.piped import sending

    with sending(stream):
        if raw is None:
            with path.open("rb") as file:
                shutil.copyfileobj(file, stream, _BLOCK)
        else:
            for block in soundfile.blocks(path, _BLOCK, dtype="float32", always_2d=True):
                stream.write(raw.encoded(block.T))
