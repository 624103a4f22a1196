"""One recording into another: read in blocks, cleaned, written whole or not at all.

The file is read twice: once for its level (`dsp.level`), once to clean it. Both times in blocks,
so that memory stays bounded however long it is.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio_denoising.cleaning.stream import Progress, StreamCleaner
from audio_denoising.dsp.level import ActiveLevel
from audio_denoising.dsp.strength import Strength
from audio_denoising.errors import UserError
from audio_denoising.io.reading import AudioReader
from audio_denoising.io.writing import AudioWriter, check_output

_LOWEST_RATE, _HIGHEST_RATE = 1_000, 768_000
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


@dataclass(frozen=True)
class Target:
    """Where the result goes, and what may be replaced there.

    Args:
        output: the file to write.
        noise: a second file, for what was taken out.
        force: replace what exists.
        in_place: ``output`` is the input, and is to be replaced.
    """

    output: Path
    noise: Path | None = None
    force: bool = False
    in_place: bool = False

    def check(self, input: Path) -> None:
        """Refuses what cannot be written, before any work.

        Raises:
            UserError: an output is the input (without ``in_place``), exists (without ``force``),
                or cannot be written.
        """
        for path in filter(None, (self.output, self.noise)):
            if same_file(path, input) and not (self.in_place and path == self.output):
                raise UserError(
                    f"{path} is the input itself: choose another output, or replace the input by "
                    f"its cleaned form with --in-place"
                )
        check_output(self.output, force=self.force or self.in_place)
        if self.noise is not None:
            if same_file(self.noise, self.output):
                raise UserError(
                    f"{self.noise} cannot hold both the cleaned recording and the noise: choose "
                    f"another output name"
                )
            check_output(self.noise, force=self.force)


def clean_recording(
    cleaner: StreamCleaner,
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
        level = ActiveLevel(rate)
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
                    frames=level.samples,
                    force=force,
                    source=source,
                )
            )

        cleaned_file = writer(target.output, target.force or target.in_place, reader)
        # Completed first, as it was opened last: where the output is, the noise is too.
        noise_file = writer(target.noise, target.force, None) if target.noise else None
        beyond = 0
        blocks = reader.blocks(_BLOCK_SECONDS * rate)
        for noisy, clean in cleaner.stream(blocks, rate, level, progress):
            mixed = strength.mix(noisy, clean)
            cleaned_file.write(mixed)
            if cleaned_file.clips:
                beyond += int(np.count_nonzero(np.abs(mixed) > 1.0))
            if noise_file is not None:
                noise_file.write(noisy - mixed)
    warnings = [*reader.notices, *cleaned_file.left_out]
    if beyond:
        warnings.append(
            f"{beyond} samples of {target.output} went beyond full scale and were limited to it: "
            f"if that is audible, turn the recording down before cleaning it"
        )
    return Report(
        seconds=level.samples / rate,
        elapsed=time.perf_counter() - started,
        model=cleaner.name,
        device=str(cleaner.device),
        output=target.output,
        damage=reader.damage,
        warnings=tuple(warnings),
    )


def checked_rate(sample_rate: float) -> int:
    """The sample rate in Hz as a whole number.

    Raises:
        UserError: it is not whole, or not from 1 kHz to 768 kHz.
    """
    if int(sample_rate) != sample_rate or not _LOWEST_RATE <= sample_rate <= _HIGHEST_RATE:
        raise UserError(
            f"the sample rate {sample_rate} Hz is not a whole number between {_LOWEST_RATE} and "
            f"{_HIGHEST_RATE}: convert the recording, for example to 16000 Hz"
        )
    return int(sample_rate)


def same_file(first: Path, second: Path) -> bool:
    """Whether two names lead to one file, also through links."""
    try:
        return first.samefile(second)
    except (OSError, ValueError):  # one of them does not exist
        return first == second
