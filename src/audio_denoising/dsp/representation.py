"""What a network hears, how its answer becomes sound, and how far that is from the clean speech.

One concept with two forms: the decibel image of v2 to v4, a picture of 2.55 s that is answered by a
picture, and the compressed spectrum of v5, frames of 16 ms that are answered by complex masks.
"""

from __future__ import annotations

from . import compressed_spectrum, spectrum

SIGNALS: dict[str, dict[str, float]] = {
    "decibel image": {
        "sample_rate": spectrum.SAMPLE_RATE,
        "fft_size": spectrum.FFT_SIZE,
        "hop": spectrum.HOP,
        "bins": spectrum.BINS,
        "frames": spectrum.FRAMES,
        "floor_db": spectrum.FLOOR_DB,
    },
    "compressed spectrum": {
        "sample_rate": spectrum.SAMPLE_RATE,
        "fft_size": 512,
        "hop": 256,
        "bins": compressed_spectrum.BINS,
        "power": compressed_spectrum.POWER,
        "floor": compressed_spectrum.FLOOR,
    },
}
"""Every number that input and output of a network depend on; a checkpoint carries them."""
