"""How much of the noise to take out: the one knob between the recording and its cleaned form."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

from audio_denoising.errors import UserError

if TYPE_CHECKING:
    from audio_denoising.dsp.resampling import Samples


@dataclass(frozen=True)
class Strength:
    """A mix of the noisy recording and its cleaned form, sample by sample.

    With ``s = percent / 100`` and ``f = 10^(-limit_db / 20)``::

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

    @property
    def noisy_share(self) -> float:
        """The part of the noisy recording in the result, from 0 to 1: ``1 - s (1 - f)``."""
        kept = 0.0 if self.limit_db is None else 10.0 ** (-self.limit_db / 20.0)
        return 1.0 - self.percent / 100.0 * (1.0 - kept)

    def mix(self, noisy: Samples, clean: Samples) -> Samples:
        """The result for samples ``(C, L)``; exact at both ends of the scale."""
        share = self.noisy_share
        if share in (0.0, 1.0):
            return noisy if share else clean
        mixed: Samples = clean + share * (noisy - clean)
        return mixed


def number(text: str, unit: str, option: str) -> float:
    """A number that a user typed, with its unit or without: ``80`` and ``80%``, ``12 dB``.

    Raises:
        UserError: it is something else.
    """
    try:
        return float(text.strip().lower().removesuffix(unit.lower()))
    except ValueError as error:
        raise UserError(f"{option} {text} is not a number: give one, such as 12 or 80") from error
