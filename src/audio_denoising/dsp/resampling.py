"""Sample-rate conversion: linear phase, level kept, and as many samples as are wanted."""

from __future__ import annotations

import numpy as np
import soxr

from audio_denoising.samples import Samples


def resampled_length(length: int, rate_in: int, rate_out: int) -> int:
    """Samples at ``rate_out`` that last at least as long as ``length`` samples at ``rate_in``."""
    return -(-length * rate_out // rate_in)


def resample(signal: Samples, rate_in: int, rate_out: int, length: int | None = None) -> Samples:
    """Samples ``(C, L)`` at one rate in Hz -> ``(C, length)`` at another; see `resampled_length`.

    With a linear-phase filter (libsoxr): no delay, level kept. The end is cut or continued with
    zeros by the odd sample to meet another ``length``.
    """
    if length is None:
        length = resampled_length(signal.shape[1], rate_in, rate_out)
    converted = signal
    if rate_in != rate_out and signal.size:
        converted = soxr.resample(np.ascontiguousarray(signal.T), rate_in, rate_out).T
    missing = max(0, length - converted.shape[1])
    padded = np.pad(converted, ((0, 0), (0, missing))) if missing else converted
    return np.ascontiguousarray(padded[:, :length], dtype=np.float32)
