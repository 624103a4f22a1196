"""Simple denoisers to compare with: spectral gating and RNNoise, each as its package has it.

Both packages are optional (`pip install "audio-denoising[peers]"`). Their settings are their own
defaults; nothing is tuned on the test list.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import soxr

from ..errors import UserError

Waveform = npt.NDArray[np.float32]
Cleaner = Callable[[Waveform, int], Waveform]
"""Takes a waveform ``(L,)`` and its rate in Hz; returns the denoised waveform ``(L,)``."""

_RNNOISE_RATE = 48_000
# Samples by which RNNoise's output comes late: a frame of overlap and one of look-ahead.
_RNNOISE_DELAY = 960


def spectral_gating(noisy: Waveform, sample_rate: int) -> Waveform:
    """Non-stationary spectral gating by ``noisereduce`` (Sainburg and Zorea, 2024).

    Raises UserError where the package is not installed.
    """
    try:
        from noisereduce import reduce_noise
    except ImportError as error:
        raise _missing("noisereduce") from error
    with np.errstate(divide="ignore", invalid="ignore"):  # of digital silence by itself
        cleaned = reduce_noise(y=noisy, sr=sample_rate)
    return np.nan_to_num(np.asarray(cleaned, np.float32))


def rnnoise(noisy: Waveform, sample_rate: int) -> Waveform:
    """RNNoise (Valin, MMSP 2018) by ``pyrnnoise``, at its 48 kHz, with its delay of 20 ms undone.

    Its own high-pass filter costs it SI-SDR: on clean speech 2 to 8 dB, as measured against a
    reference filtered alike.

    Raises UserError where the package is not installed.
    """
    try:
        from pyrnnoise import RNNoise
    except (ImportError, OSError) as error:  # OSError: no library for this system inside
        raise _missing("pyrnnoise") from error
    wide = soxr.resample(noisy, sample_rate, _RNNOISE_RATE)
    wide = np.pad(wide, (0, _RNNOISE_DELAY))
    pcm = np.clip(np.round(wide * 32767), -32768, 32767).astype(np.int16)
    parts = [part for _, part in RNNoise(_RNNOISE_RATE).denoise_chunk(pcm[None], partial=True)]
    late = np.concatenate(parts, axis=1)[0].astype(np.float32) / 32767
    back = soxr.resample(late[_RNNOISE_DELAY:], _RNNOISE_RATE, sample_rate)[: noisy.size]
    return np.pad(back, (0, noisy.size - back.size)).astype(np.float32)


PEERS: dict[str, tuple[str, Cleaner]] = {
    "noisereduce": ("noisereduce", spectral_gating),
    "RNNoise": ("pyrnnoise", rnnoise),
}
"""Name in the tables -> (package on PyPI, how it cleans)."""


def _missing(package: str) -> UserError:
    return UserError(
        f"--peers needs the package {package}, which is not installed; "
        'pip install "audio-denoising[peers]" brings it.'
    )
