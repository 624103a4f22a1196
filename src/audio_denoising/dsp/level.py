"""How loud a recording is where something is going on, and the gain to the level of the training.

The network reads absolute levels, so a recording 30 dB quieter would look like another one. Its
active level is therefore brought to the one the network was trained at before it looks; the
result is brought back by the same factor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio_denoising.dsp.resampling import Samples

TARGET_DB = -20.0
"""Level that recordings are brought to, in dB re full scale (RMS).

Common among the training mixtures. Of the levels tried on validation mixtures
(`python -m benchmarks.level`) it changes clean speech least; lower ones leave more noise.
"""

_FRAME_SECONDS = 0.1
_SILENCE = 1e-12  # mean square (-120 dB): digital silence, or less than 24 bits can hold
_GATE = 0.1  # -10 dB relative to the mean, the relative gate of ITU-R BS.1770-4


class ActiveLevel:
    """Collects the level of a recording that arrives in blocks of any size.

    The signal is cut into frames of 100 ms. Their mean squares, each less the square of the frame's
    mean (a DC offset is no sound), are gated as in ITU-R BS.1770-4, annex 1: frames of digital
    silence are left out, then those more than 10 dB below the mean of the others. The mean of what
    is left is the active level. It does not depend on how much silence surrounds the speech, nor on
    how the signal is cut into blocks. The memory it takes is 80 bytes for a second and channel.

    Args:
        rate: sample rate in Hz.
    """

    def __init__(self, rate: int) -> None:
        self._frame = max(1, round(_FRAME_SECONDS * rate))
        self._powers: list[npt.NDArray[np.float64]] = []
        self._rest: Samples | None = None
        self.samples = 0

    def add(self, block: Samples) -> None:
        """Takes the next samples ``(C, n)``."""
        self.samples += block.shape[1]
        if self._rest is not None:
            block = np.concatenate((self._rest, block), axis=1)
        whole = block.shape[1] // self._frame * self._frame
        if whole:
            self._powers.append(_powers(block[:, :whole], self._frame))
        self._rest = block[:, whole:].copy()

    def decibels(self) -> npt.NDArray[np.float64]:
        """Active level of every channel in dB re full scale ``(C,)``; -inf where it is silent."""
        powers = self._powers
        if not powers and self._rest is not None and self._rest.shape[1]:
            powers = [_powers(self._rest, self._rest.shape[1])]  # shorter than a frame
        if not powers:
            return np.empty(0)
        return np.array([_gated(channel) for channel in np.concatenate(powers, axis=1)])

    def gains(self) -> npt.NDArray[np.float32]:
        """Linear gain ``(C,)`` that brings each channel to `TARGET_DB`; 1 where it is silent."""
        level = self.decibels()
        level[np.isneginf(level)] = TARGET_DB
        return (10.0 ** ((TARGET_DB - level) / 20.0)).astype(np.float32)


def _powers(block: Samples, frame: int) -> npt.NDArray[np.float64]:
    """Variance of the samples of every frame: ``(C, n · frame) -> (C, n)``."""
    frames = block.reshape(block.shape[0], -1, frame)
    return np.asarray(frames.var(axis=2, dtype=np.float64))


def _gated(powers: npt.NDArray[np.float64]) -> float:
    heard = powers[powers > _SILENCE]
    if not heard.size:
        return -np.inf
    active = heard[heard >= _GATE * heard.mean()]
    return float(10.0 * np.log10(active.mean()))
