"""One recording into another: read in blocks, cleaned, written whole or not at all.

In blocks, so that memory stays bounded however long it is. A file is read once; twice where the
network has to know the level beforehand (`dsp.level`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from audio_denoising.cleaning.settings import Job, Settings, checked_rate
from audio_denoising.dsp.level import ActiveLevel
from audio_denoising.media.reading import AudioReader
from audio_denoising.media.writing import AudioWriter

if TYPE_CHECKING:
    from audio_denoising.cleaning.cleaner import Cleaner

Progress = Callable[[float, float], None]
"""Called with the seconds of audio done and the seconds in all."""

Advance = Callable[[float], None]
"""Called by a cleaner with how many more seconds of the signal are done."""

_BLOCK_SECONDS = 10  # read at once


@dataclass(frozen=True)
class Report:
    """What a file took, and what to tell about it."""

    seconds: float  # of audio
    elapsed: float  # seconds of work
    model: str
    device: str
    output: Path
    damage: str = ""  # a sentence that says how far a damaged input could be read
    warnings: tuple[str, ...] = ()  # sentences: samples that were limited, streams left out


def clean_recording(
    cleaner: Cleaner, job: Job, settings: Settings, progress: Progress | None = None
) -> Report:
    """Cleans a recording into its outputs; the progress is called now and then.

    UserError where the input cannot be read, or an output cannot be written.
    """
    started = time.perf_counter()
    with AudioReader(job.input, salvage=settings.salvage) as reader:
        rate, samples = checked_rate(reader.rate), reader.frames
        job.check(settings)
        level = ActiveLevel(rate) if cleaner.needs_level else None
        if level is not None:
            for block in reader.blocks(_BLOCK_SECONDS * rate):
                level.add(block)
                if progress is not None:
                    progress(0.0, max(level.samples, reader.frames) / rate)
            samples = level.samples
    with AudioReader(job.input, salvage=settings.salvage) as reader, ExitStack() as outputs:
        new = partial(
            AudioWriter, rate=rate, channels=reader.channels, subtype=reader.subtype, frames=samples
        )
        replaced = settings.force or settings.in_place
        cleaned_file = outputs.enter_context(new(job.output, force=replaced, source=reader))
        noise_file = None
        if job.noise is not None:
            # Completed first, as it was opened last: where the output is, the noise is too.
            noise_file = outputs.enter_context(new(job.noise, force=settings.force))
        written = 0
        blocks = reader.blocks(_BLOCK_SECONDS * rate)
        for noisy, clean in cleaner.clean(blocks, rate, level, advancing(progress, samples / rate)):
            mixed = settings.mix(noisy, clean)
            cleaned_file.write(mixed)
            if noise_file is not None:
                noise_file.write(noisy - mixed)
            written += mixed.shape[1]
    return Report(
        seconds=written / rate,
        elapsed=time.perf_counter() - started,
        model=cleaner.name,
        device=str(cleaner.device),
        output=Path(job.output),
        damage=reader.damage,
        warnings=reader.notices + cleaned_file.notices,
    )


def advancing(progress: Progress | None, total: float) -> Advance:
    """What a cleaner tells its steps: the seconds done so far, of about ``total``, reach a user."""
    done = 0.0

    def advance(seconds: float) -> None:
        nonlocal done
        done += seconds
        if progress is not None:
            progress(done, max(done, total))

    return advance
