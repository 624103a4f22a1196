"""The sample rates of recordings that can be cleaned."""

from __future__ import annotations

import math
from numbers import Real

from audio_denoising.errors import UserError

_LOWEST, _HIGHEST = 1_000, 768_000


def checked_rate(sample_rate: object) -> int:
    """The sample rate in Hz as a whole number.

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
