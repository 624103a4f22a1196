"""A sound that goes through a pipe and is cleaned by v5 while it goes on."""

from __future__ import annotations

import sys
import time
from itertools import chain
from pathlib import Path

from audio_denoising.cleaning.causal import CausalCleaner
from audio_denoising.cleaning.cleaner import Cleaner
from audio_denoising.cleaning.recording import Report
from audio_denoising.cleaning.settings import Settings
from audio_denoising.errors import UserError
from audio_denoising.media.piped import PipedSound, PipedWriter
from audio_denoising.media.reading import AudioReader
from audio_denoising.media.writing import AudioWriter

_MOST_CHANNELS = 64  # no network cleans more as fast as they come


def clean_as_it_comes(
    cleaner: Cleaner | None,
    sound: PipedSound,
    output: str | None,
    settings: Settings,
    folder: Path,
) -> Report | None:
    """Cleans a sound while it comes, into a file or (None) standard output, as `stream_sound`.

    None, with nothing read, where all must be kept first. ``folder`` is for what the file is told
    of a WAV.
    """
    raw, head, source = sound.raw, sound.head, None
    if not isinstance(cleaner, CausalCleaner) or raw.channels > _MOST_CHANNELS:
        return None
    if output is None:
        return stream_sound(cleaner, sound, PipedWriter(sys.stdout.buffer, sound), settings)
    if head is not None:
        if head.length is not None:  # the file gets the tags behind the samples, too
            return None
        begin = folder / "standard input"
        begin.write_bytes(bytes(head) + bytes(raw.size))
        with AudioReader(begin) as source:
            pass
    form, force = raw.subtype, settings.force
    writer = AudioWriter(output, raw.rate, raw.channels, subtype=form, force=force, source=source)
    return stream_sound(cleaner, sound, writer, settings)


def stream_sound(
    cleaner: CausalCleaner, sound: PipedSound, writer: PipedWriter | AudioWriter, settings: Settings
) -> Report:
    """Cleans a sound while it comes.

    Where a sample is not a number or cut in two, what came before it is written, and the report
    tells of the damage.

    Raises:
        UserError: there is no sound, the network does not hear it, or it cannot be written.
    """
    started = time.process_time()  # what is waited for is no work
    with writer:
        stream = cleaner.open(sound.raw.rate, sound.raw.channels)
        for block in chain(sound.blocks(), [None]):
            clean = settings.mix(*(stream.flush() if block is None else stream.push(block)))
            if clean.size:
                writer.write(clean)
        if not sound.samples:
            raise UserError(sound.damage or "standard input holds no samples: record it again")
    return Report(
        seconds=sound.samples / sound.raw.rate,
        elapsed=time.process_time() - started,
        model=cleaner.name,
        device=cleaner.device,
        output=writer.path,
        damage=sound.damage,
        warnings=sound.notices + writer.notices,
    )
