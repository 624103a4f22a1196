"""Brings a recording and its clean reference to the same length, where they differ by little."""

from __future__ import annotations

import numpy as np

from audio_denoising.errors import UserError
from audio_denoising.samples import Samples

TOLERANCE_SECONDS = 0.050


def check_pair(
    name: str, frames: int, rate: int, reference_name: str, reference_frames: int,
    reference_rate: int,
) -> None:  # fmt: skip
    """Refuses a reference that cannot be one: another rate, or longer or shorter by over 50 ms.

    Raises:
        UserError: with both values.
    """
    if rate != reference_rate:
        raise UserError(
            f"{reference_name} has {reference_rate} Hz and {name} {rate} Hz: convert one of them "
            "to the rate of the other"
        )
    if abs(frames - reference_frames) > TOLERANCE_SECONDS * rate:
        raise UserError(
            f"{reference_name} lasts {reference_frames / rate:.3f} s and {name} "
            f"{frames / rate:.3f} s: a reference may differ by 50 ms at most"
        )


def align(signal: Samples, reference: Samples, rate: int) -> tuple[Samples, Samples]:
    """Cuts two recordings of one event to the stretch they share.

    Equally long ones stay as they are. Otherwise the shift of up to 50 ms with the largest
    cross-correlation is undone first.

    Args:
        signal: ``(L,)``, L within 50 ms of the reference's length.
        reference: ``(M,)``.
        rate: of both, in Hz.

    Returns:
        Both, equally long.
    """
    if signal.size == reference.size:
        return signal, reference
    lag = delay(signal, reference, rate)
    signal, reference = signal[max(0, lag) :], reference[max(0, -lag) :]
    length = min(signal.size, reference.size)
    return signal[:length], reference[:length]


def delay(signal: Samples, reference: Samples, rate: int) -> int:
    """By how many samples, 50 ms at most, the signal ``(L,)`` comes after the reference ``(M,)``.

    The highest peak of their cross-correlation.
    """
    reach = min(int(TOLERANCE_SECONDS * rate), min(signal.size, reference.size) - 1)
    size = signal.size + reference.size
    product = np.fft.rfft(signal, size) * np.fft.rfft(reference, size).conj()
    correlation = np.fft.irfft(product, size)
    lags = np.arange(-reach, reach + 1)
    return int(lags[np.argmax(correlation[lags])])
