"""Denoisers of others to compare with, each with its authors' weights, settings and pace.

All packages are optional; `docs/peers.md` tells how to get them, their licences, and what is made
up for. Nothing is tuned on a test list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soxr

from audio_denoising.errors import UserError
from audio_denoising.evaluation.peer_streams import (
    DTLN,
    GTCRN,
    DeepFilterNet,
    PeerStream,
    RNNoise,
)
from audio_denoising.samples import Samples

Cleaner = Callable[[Samples, int], Samples]
"""Takes a waveform ``(L,)`` and its rate in Hz; returns the denoised waveform ``(L,)``."""


@dataclass(frozen=True)
class Peer:
    """A denoiser of others: how it cleans, the package that it comes with, and how it streams.

    ``stream`` is None for one that wants the whole recording.
    """

    package: str
    clean: Cleaner
    stream: type[PeerStream] | None = None


def spectral_gating(noisy: Samples, sample_rate: int) -> Samples:
    """Non-stationary spectral gating by ``noisereduce`` (Sainburg and Zorea, 2024).

    Raises UserError where the package is not installed.
    """
    try:
        from noisereduce import reduce_noise
    except ImportError as error:
        raise UserError(
            "--peers needs the package noisereduce, which is not installed; pip install "
            "noisereduce brings it."
        ) from error
    with np.errstate(divide="ignore", invalid="ignore"):  # of digital silence by itself
        cleaned = reduce_noise(y=noisy, sr=sample_rate)
    return np.nan_to_num(np.asarray(cleaned, np.float32))


def _frame_by_frame(stream: type[PeerStream]) -> Cleaner:
    """A whole waveform at the peer's own rate, hop by hop from a fresh state, its delay undone."""

    def clean(noisy: Samples, sample_rate: int) -> Samples:
        fresh = stream()
        heard = _resampled(noisy, sample_rate, stream.rate)
        padding = stream.delay + -(heard.size + stream.delay) % stream.hop
        frames = np.pad(heard, (0, padding)).reshape(-1, stream.hop)
        late = np.concatenate([fresh.step(frame) for frame in frames])
        back = _resampled(late[stream.delay :], stream.rate, sample_rate)[: noisy.size]
        return np.pad(back, (0, noisy.size - back.size)).astype(np.float32)

    return clean


def _resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    return samples if rate == wanted else np.asarray(soxr.resample(samples, rate, wanted))


PEERS: dict[str, Peer] = {"noisereduce": Peer("noisereduce", spectral_gating)} | {
    name: Peer(stream.package, _frame_by_frame(stream), stream)
    for name, stream in {
        "RNNoise": RNNoise,
        "DTLN": DTLN,
        "GTCRN": GTCRN,
        "DeepFilterNet3": DeepFilterNet,
    }.items()
}
"""By their names in the tables."""
