"""Every number that the input and the output of a network depend on, by what the network hears."""

from __future__ import annotations

from audio_denoising.dsp import constants, frames

SIGNALS: dict[str, dict[str, float]] = {
    "decibel image": {
        "sample_rate": constants.SAMPLE_RATE,
        "fft_size": constants.FFT_SIZE,
        "hop": constants.HOP,
        "bins": constants.BINS,
        "frames": constants.FRAMES,
        "floor_db": constants.FLOOR_DB,
    },
    "compressed spectrum": frames.SIGNAL,
}
"""A checkpoint carries them, and one that was trained with others is refused."""
