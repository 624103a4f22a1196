"""What is to be cleaned and how: plain values, checked before any work, that travel to any worker.

It loads neither NumPy nor torch, so that a wrong value is told at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from audio_denoising.errors import UserError
from audio_denoising.media.formats import container_of
from audio_denoising.paths import require_free, same_file

if TYPE_CHECKING:
    from audio_denoising.samples import Samples

_LOWEST, _HIGHEST = 1_000, 768_000  # Hz


@dataclass(frozen=True)
class Settings:
    """How to clean.

    With ``s = strength / 100`` and ``f = 10^(-limit / 20)`` (0 without a limit), sample by sample::

        limited = f · noisy + (1 - f) · clean
        out     = s · limited + (1 - s) · noisy

    What the network removes altogether is turned down by ``limit`` and no further; 0 dB, like
    0 percent, gives the recording back.

    Raises:
        UserError: the strength is not from 0 to 100, or the limit is below 0 dB. More than 0 and
            less than 1 percent, which nobody would hear, is refused as a share of 1.
    """

    strength: float = 100.0  # percent of the noise removal
    limit: float | None = None  # dB by which noise is turned down at most
    force: bool = False  # replace what exists
    in_place: bool = False  # the output is the input, and is to be replaced
    salvage: bool = False  # clean what can be read of a damaged recording, not to refuse it

    def __post_init__(self) -> None:
        for name, value in (("strength", self.strength), ("limit", self.limit)):
            absent = name == "limit" and value is None
            if not (absent or isinstance(value, Real)) or isinstance(value, bool):
                raise UserError(f"the {name} {value!r} must be a number, without quotes or a unit")
        if not 0 <= self.strength <= 100:
            raise UserError(f"the strength {self.strength:g} must be from 0 to 100 percent")
        if 0 < self.strength < 1:
            raise UserError(
                f"the strength {self.strength:g} is less than one percent, which would remove "
                f"nothing: did you mean {100 * self.strength:g}?"
            )
        if self.limit is not None and not self.limit >= 0:
            raise UserError(
                f"the limit {self.limit:g} dB must be 0 or above: it says by how much noise "
                f"may be turned down at most, for example 12"
            )

    def mix(self, noisy: Samples, clean: Samples) -> Samples:
        """The result for samples ``(C, L)``; exact at both ends of the scale."""
        kept = 0.0 if self.limit is None else 10.0 ** (-self.limit / 20.0)
        share = 1.0 - self.strength / 100.0 * (1.0 - kept)  # of the noisy recording in the result
        if share in (0.0, 1.0):
            return noisy if share else clean
        mixed: Samples = clean + share * (noisy - clean)
        return mixed


@dataclass(frozen=True)
class Job:
    """One recording to clean, by names of files, which on a cluster may be addresses."""

    input: str
    output: str
    noise: str | None = None  # what was taken out, if that is wanted

    @property
    def outputs(self) -> tuple[str, ...]:
        """All files it writes."""
        return (self.output,) if self.noise is None else (self.output, self.noise)

    def check(self, settings: Settings) -> None:
        """Refuses what cannot be written.

        Raises:
            UserError: an output is the input (and not to be replaced), exists (and is not forced),
                or cannot be written.
        """
        for path in map(Path, self.outputs):
            replaced = settings.in_place and path == Path(self.output)
            if same_file(path, Path(self.input)) and not replaced:
                raise UserError(
                    f"{path} is the input itself: choose another output, or replace the input by "
                    f"its cleaned form with in_place=True"
                )
            require_free(path, force=settings.force or replaced)
            container_of(path)
        if self.noise is not None and same_file(Path(self.noise), Path(self.output)):
            raise UserError(
                f"{self.noise} cannot hold both the cleaned recording and the noise: choose "
                f"another output name"
            )


def checked_rate(sample_rate: object) -> int:
    """A sample rate in Hz, whole and from 1 kHz to 768 kHz, or a UserError."""
    rate = float(sample_rate) if isinstance(sample_rate, Real) else math.nan
    if not (rate.is_integer() and _LOWEST <= rate <= _HIGHEST):
        raise UserError(
            f"the sample rate {sample_rate!r} is not a whole number between {_LOWEST} and "
            f"{_HIGHEST} Hz: convert the recording, for example to 16000"
        )
    return int(rate)
