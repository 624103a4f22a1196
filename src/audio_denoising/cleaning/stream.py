"""Live sound: `Denoiser.stream` cleans a signal block by block, while it is still going on."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from audio_denoising.cleaning.causal import CausalStream
from audio_denoising.cleaning.settings import Settings
from audio_denoising.media.arrays import Audio, from_samples, to_samples
from audio_denoising.samples import Samples


class Stream:
    """One signal, cleaned as it comes, in blocks of any length.

        with denoiser.stream(48_000) as stream:
            for block in microphone:
                play(stream.push(block))
            play(stream.flush())

    What `push` and `flush` return, laid end to end, is the signal cleaned: as long as what went in,
    and the same samples, to the last bit, however it was cut. It can be pickled in the middle and
    goes on where it was. One thread at a time may use a stream; streams do not hear of each other.

    Attributes:
        sample_rate: in Hz.
        channels: how many rows a block has.
        latency: samples that are held back at most: one window, 32 ms.
    """

    def __init__(self, opened: CausalStream, settings: Settings) -> None:
        self._opened, self._settings = opened, settings
        self.sample_rate, self.channels = opened.rate, opened.channels
        self.latency = opened.latency
        self._like: Any = np.zeros(0 if opened.channels == 1 else (opened.channels, 0), "float32")

    def push(self, samples: Audio) -> Audio:
        """Takes the next samples and returns those that are finished, of the same type and dtype.

        Args:
            samples: ``(samples,)`` of a stream of one channel, or ``(channels, samples)``, as
                `Denoiser` takes them; none and one are numbers like any other.

        Raises:
            UserError: another number of channels, no such array, or a sample that is not a number;
                the stream stays as it was.
        """
        pair = self._opened.push(to_samples(samples))
        self._like = samples[..., :0]
        return cast(Audio, self._mixed(*pair))

    def flush(self) -> Any:
        """What is still held back; the stream is then as new."""
        return self._mixed(*self._opened.flush())

    def reset(self) -> None:
        """Forgets the signal so far and what is held back of it."""
        self._opened.reset()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.reset()

    def _mixed(self, noisy: Samples, cleaned: Samples) -> Any:
        return from_samples(self._settings.mix(noisy, cleaned), like=self._like)
