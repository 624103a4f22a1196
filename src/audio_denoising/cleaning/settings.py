"""What is to be cleaned and how much: plain values, checked before any work and before torch loads.

A `Job` and its `Settings` travel to any worker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from audio_denoising.device import check_device_name
from audio_denoising.errors import UserError
from audio_denoising.files import require_free, same_file
from audio_denoising.media.formats import container_of
from audio_denoising.models.shipped import DEFAULT, locate

if TYPE_CHECKING:
    from audio_denoising.cleaning.denoiser import Denoiser
    from audio_denoising.cleaning.recording import Progress, Report
    from audio_denoising.dsp.resampling import Samples

_LOWEST, _HIGHEST = 1_000, 768_000  # Hz


@dataclass(frozen=True)
class Job:
    """One recording to clean: names of files, which on a cluster may be addresses.

    Attributes:
        input: the recording.
        output: its cleaned form.
        noise: what was taken out, if that is wanted.
    """

    input: str
    output: str
    noise: str | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """All files it writes."""
        return (self.output,) if self.noise is None else (self.output, self.noise)

    def check(self, *, force: bool = False, in_place: bool = False) -> None:
        """Refuses what cannot be written.

        Raises:
            UserError: an output is the input (without ``in_place``), exists (without ``force``),
                or cannot be written.
        """
        for path in map(Path, self.outputs):
            replaced = in_place and path == Path(self.output)
            if same_file(path, Path(self.input)) and not replaced:
                raise UserError(
                    f"{path} is the input itself: choose another output, or replace the input by "
                    f"its cleaned form with in_place=True"
                )
            require_free(path, force=force or replaced)
            container_of(path)
        if self.noise is not None and same_file(Path(self.noise), Path(self.output)):
            raise UserError(
                f"{self.noise} cannot hold both the cleaned recording and the noise: choose "
                f"another output name"
            )


@dataclass(frozen=True)
class Strength:
    """How much of the noise to take out: a mix of the noisy recording and its cleaned form.

    With ``s = percent / 100`` and ``f = 10^(-limit_db / 20)``, sample by sample::

        limited = f · noisy + (1 - f) · clean       (f = 0 without a limit)
        out     = s · limited + (1 - s) · noisy

    What the model removes altogether is turned down by ``limit_db`` and no further; 0 dB, like
    0 percent, gives the recording back.

    Raises:
        UserError: the percentage is not from 0 to 100, or the limit is below 0 dB. More than 0 and
            less than 1 percent, which nobody would hear, is refused as a share of 1.
    """

    percent: float = 100.0
    limit_db: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("strength", self.percent), ("limit", self.limit_db)):
            absent = name == "limit" and value is None
            if not (absent or isinstance(value, Real)) or isinstance(value, bool):
                raise UserError(f"the {name} {value!r} must be a number, without quotes or a unit")
        if not 0 <= self.percent <= 100:
            raise UserError(f"the strength {self.percent:g} must be from 0 to 100 percent")
        if 0 < self.percent < 1:
            raise UserError(
                f"the strength {self.percent:g} is less than one percent, which would remove "
                f"nothing: did you mean {100 * self.percent:g}?"
            )
        if self.limit_db is not None and not self.limit_db >= 0:
            raise UserError(
                f"the limit {self.limit_db:g} dB must be 0 or above: it says by how much noise "
                f"may be turned down at most, for example 12"
            )

    def mix(self, noisy: Samples, clean: Samples) -> Samples:
        """The result for samples ``(C, L)``; exact at both ends of the scale."""
        kept = 0.0 if self.limit_db is None else 10.0 ** (-self.limit_db / 20.0)
        share = 1.0 - self.percent / 100.0 * (1.0 - kept)  # of the noisy recording in the result
        if share in (0.0, 1.0):
            return noisy if share else clean
        mixed: Samples = clean + share * (noisy - clean)
        return mixed


@dataclass(frozen=True)
class Settings:
    """How to clean; the arguments are those of `Denoiser` and `Denoiser.denoise_file`.

    Raises:
        UserError: the strength or the limit is out of range, or there is no such model or device.
    """

    model: str = DEFAULT
    device: str = "auto"
    strength: float = 100.0
    limit: float | None = None
    force: bool = False
    in_place: bool = False

    def __post_init__(self) -> None:
        Strength(self.strength, self.limit)
        locate(self.model)
        check_device_name(self.device)

    def load(self) -> Denoiser:
        """The network, with its weights.

        Raises:
            UserError: unknown model or device.
        """
        from audio_denoising.cleaning.denoiser import Denoiser

        return Denoiser(self.model, device=self.device)

    def clean(self, denoiser: Denoiser, job: Job, progress: Progress | None = None) -> Report:
        """Cleans one recording; of a damaged one what can be read, see `Report.damage`.

        In place a damaged one is refused: what cannot be read now, another program may still save.

        Raises:
            UserError: the input cannot be read, or an output cannot be written.
        """
        return denoiser.denoise_file(
            job.input,
            job.output,
            strength=self.strength,
            limit=self.limit,
            save_noise=job.noise,
            force=self.force,
            in_place=self.in_place,
            salvage=not self.in_place,
            progress=progress,
        )


def checked_rate(sample_rate: object) -> int:
    """A sample rate in Hz that can be cleaned, as a whole number.

    Raises:
        UserError: it is no number, not whole, or not from 1 kHz to 768 kHz.
    """
    if not isinstance(sample_rate, Real):
        raise UserError(
            f"the sample rate {sample_rate!r} is of type {type(sample_rate).__name__}: give a "
            f"number, for example 16000"
        )
    rate = float(sample_rate)
    if not (math.isfinite(rate) and rate == int(rate) and _LOWEST <= rate <= _HIGHEST):
        raise UserError(
            f"the sample rate {sample_rate} Hz is not a whole number between {_LOWEST} and "
            f"{_HIGHEST}: convert the recording, for example to 16000 Hz"
        )
    return int(rate)
