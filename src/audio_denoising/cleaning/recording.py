"""One recording into another: read in blocks, cleaned, written whole or not at all.

In blocks, so that memory stays bounded however long it is. A file is read once; twice where the
network has to know the level beforehand (`dsp.level`).
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio_denoising.cleaning.rate import checked_rate
from audio_denoising.cleaning.stream import Cleaner, Progress
from audio_denoising.cleaning.target import Target
from audio_denoising.dsp.level import ActiveLevel
from audio_denoising.dsp.strength import Strength
from audio_denoising.media.reading import AudioReader
from audio_denoising.media.writing import AudioWriter

_BLOCK_SECONDS = 10  # read at once


@dataclass(frozen=True)
class Report:
    """What a file took, and what to tell about it.

    Attributes:
        seconds: of audio.
        elapsed: seconds of work.
        model: who did it.
        device: where.
        output: the file written.
        damage: empty, or a sentence that says how far a damaged input could be read.
        warnings: sentences: samples that were limited, streams that were left out.
    """

    seconds: float
    elapsed: float
    model: str
    device: str
    output: Path
    damage: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work for one second of audio; below 1 keeps up."""
        return self.elapsed / self.seconds


def clean_recording(
    cleaner: Cleaner,
    input: Path,
    target: Target,
    strength: Strength,
    *,
    salvage: bool,
    progress: Progress,
) -> Report:
    """Cleans ``input`` into ``target``; `Denoiser.denoise_file` says what the arguments are.

    Raises:
        UserError: the input cannot be read, or an output cannot be written.
    """
    started = time.perf_counter()
    with AudioReader(input, salvage=salvage) as reader:
        rate = checked_rate(reader.rate)
        target.check(input)
        level = ActiveLevel(rate) if cleaner.needs_level else None
        if level is not None:
            for block in reader.blocks(_BLOCK_SECONDS * rate):
                level.add(block)
                progress(0.0, max(level.samples, reader.frames) / rate)
    with AudioReader(input, salvage=salvage) as reader, ExitStack() as outputs:

        def writer(path: Path, force: bool, source: AudioReader | None) -> AudioWriter:
            return outputs.enter_context(
                AudioWriter(
                    path,
                    rate,
                    reader.channels,
                    subtype=reader.subtype,
                    frames=level.samples if level is not None else reader.frames,
                    force=force,
                    source=source,
                )
            )

        cleaned_file = writer(target.output, target.force or target.in_place, reader)
        # Completed first, as it was opened last: where the output is, the noise is too.
        noise_file = writer(target.noise, target.force, None) if target.noise else None
        samples = beyond = 0
        blocks = reader.blocks(_BLOCK_SECONDS * rate)
        for noisy, clean in cleaner.stream(blocks, rate, level, progress):
            mixed = strength.mix(noisy, clean)
            cleaned_file.write(mixed)
            if cleaned_file.clips:
                beyond += int(np.count_nonzero(np.abs(mixed) > 1.0))
            if noise_file is not None:
                noise_file.write(noisy - mixed)
            samples += mixed.shape[1]
            if level is None:
                progress(samples / rate, max(samples, reader.frames) / rate)
    warnings = [*reader.notices, *cleaned_file.left_out]
    if beyond:
        warnings.append(
            f"{beyond} samples of {target.output} went beyond full scale and were limited to it: "
            f"if that is audible, turn the recording down before cleaning it"
        )
    return Report(
        seconds=samples / rate,
        elapsed=time.perf_counter() - started,
        model=cleaner.name,
        device=str(cleaner.device),
        output=target.output,
        damage=reader.damage,
        warnings=tuple(warnings),
    )
