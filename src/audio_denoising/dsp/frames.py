"""The frames in which v5 hears sound, in numbers: their windows, and what is heard of a spectrum.

A frame is two neighbouring blocks of `hop` samples, 16 ms each, so that bins are 31.25 Hz apart at
every sample rate. No torch is needed for any of it, nor to clean a recording.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

HOP_SECONDS = 0.016
HOP = 256  # samples at 16 kHz
BINS = 256
TOP = 16  # bins at the top of the band (500 Hz) whose mean gain the bins above get

POWER = 0.3
FLOOR = 1e-5  # modulus below which compression is linear: rounding noise of 16 bit lies above it
DECOMPRESSION = (1 - POWER) / POWER  # 7/3: |S| = |Sc| |Sc|^(7/3)
GAIN = 2
"""Cleaning's gain is M |M|^2, and not M |M|^(7/3), by which a mask of compressed spectra would act:
a modulus that the network is unsure of is, as the mean of compressed ones, below what they mean."""

LEVEL = 1.4  # loudness to which all sound is brought: that of -37 dB re full scale
MEMORY = 1.5  # s after which a frame counts 1/e of what the newest does
FADING = 1 - HOP_SECONDS / MEMORY  # of its weight, from hop to hop
SILENCE = 0.16  # that of -100 dB, rounding noise of 16 bit: frames below it do not count
FIRST = 1e-4  # frames of that loudness that are heard before the first one

SIGNAL = {
    "sample_rate": 16_000, "fft_size": 2 * HOP, "hop": HOP, "bins": BINS,
    "power": POWER, "floor": FLOOR, "level": LEVEL, "memory": MEMORY, "silence": SILENCE,
}  # fmt: skip
"""Every number that input and output of the network depend on; a checkpoint carries them."""


def hop_at(rate: int) -> int:
    """16 ms at a sample rate in Hz, to the nearest sample."""
    return round(rate * HOP_SECONDS)


def windows(hop: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The windows of analysis and synthesis, (2 hop,) each.

    The first is w, a periodic Hann window, and the second v = w / (w^2 + w'^2), with w' the window
    of the other frame that covers a sample. Spectra have the size of those at 16 kHz.
    """
    size = 2 * hop
    window = 0.5 - 0.5 * np.cos(2 * np.pi / size * np.arange(size))
    squares = window * window
    dual = window / (squares + np.roll(squares, hop))
    scale = 2 * HOP / size
    return window * scale, dual / scale
