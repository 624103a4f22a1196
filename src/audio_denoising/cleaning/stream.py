"""A signal that arrives in blocks, cleaned: the same samples come out whatever the blocks are.

Each chunk of a minute (``dsp.chunks``) is brought to 16 kHz (``dsp.resampling``) and to the level
that the network knows (``dsp.level``), cut into half-overlapped windows (``dsp.overlap``), shown to
the network as decibel images (``dsp.spectrum``) and brought back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from audio_denoising.dsp import spectrum
from audio_denoising.dsp.chunks import Chunk, chunks
from audio_denoising.dsp.level import ActiveLevel
from audio_denoising.dsp.overlap import overlap_add
from audio_denoising.dsp.resampling import Samples, carry_over, resample, resampled_length
from audio_denoising.errors import UserError

Model = Callable[[Tensor], Tensor]
"""Takes noisy images ``(N, 1, 256, 256)`` in [0, 1] and returns the predicted clean ones."""

Progress = Callable[[float, float], None]
"""Called with the seconds of audio done and the seconds in all."""


class Cleaner(Protocol):
    """A network and what stands around it: noisy signals in, cleaned ones out."""

    needs_level: ClassVar[bool]  # whether the whole signal must be heard before it is cleaned

    @property
    def name(self) -> str:
        """What the network is called in reports."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def stream(
        self,
        blocks: Iterable[Samples],
        rate: int,
        level: ActiveLevel | None,
        progress: Progress,
    ) -> Iterator[tuple[Samples, Samples]]:
        """Noisy and cleaned samples ``(C, m)`` of a signal that arrives in blocks ``(C, n)``."""


_TOGETHER = 2  # channels; their windows fill the batches, and more would only take more memory


@dataclass(frozen=True)
class StreamCleaner:
    """A network, and how to compute with it.

    Args:
        model: takes noisy images ``(N, 1, 256, 256)`` and returns predicted clean ones.
        name: what to call it in reports.
        device: where it computes.
        batch_size: windows of 2.55 s shown to it at once, those of all channels counted.
    """

    needs_level: ClassVar[bool] = True

    model: Model
    name: str
    device: torch.device
    batch_size: int

    def stream(
        self,
        blocks: Iterable[Samples],
        rate: int,
        level: ActiveLevel | None,
        progress: Progress,
    ) -> Iterator[tuple[Samples, Samples]]:
        """Cleans a signal that arrives in blocks ``(C, n)``.

        Args:
            blocks: float32, one after the other.
            rate: sample rate in Hz.
            level: has heard the whole signal before.
            progress: called after every batch of windows.

        Yields:
            Noisy and cleaned samples ``(C, m)``, side by side; laid end to end they are the signal.
        """
        assert level is not None, "this network needs to know the level"
        done = 0.0
        position = 0  # of the chunk's first sample that counts
        for chunk in chunks(blocks, rate):
            begin = (position - chunk.start) / rate
            length = resampled_length(chunk.samples.shape[1], rate, spectrum.SAMPLE_RATE)
            gains = level.curve(begin, length, spectrum.SAMPLE_RATE)
            position += chunk.stop - chunk.start
            noisy = chunk.samples[:, chunk.start : chunk.stop]
            cleaned = np.empty_like(noisy)
            for first in range(0, len(noisy), _TOGETHER):
                some = slice(first, first + _TOGETHER)
                size = noisy[some].size / len(noisy)

                def report(share: float, done: float = done, size: float = size) -> None:
                    progress((done + share * size) / rate, level.samples / rate)

                part = Chunk(chunk.samples[some], chunk.start, chunk.stop)
                cleaned[some] = self._clean(part, rate, gains[some], report)
                done += size
            yield noisy, cleaned

    def _clean(
        self, chunk: Chunk, rate: int, gains: Samples, report: Callable[[float], None]
    ) -> Samples:
        """Cleans one chunk and cuts off its context; reports the share that is done."""
        noisy = resample(chunk.samples, rate, spectrum.SAMPLE_RATE)
        # One window of context on either side, so that the windows of all chunks are those of the
        # whole recording. What is left of the context only keeps the resampler's edges away.
        start = resampled_length(chunk.start, rate, spectrum.SAMPLE_RATE)
        stop = resampled_length(chunk.stop, rate, spectrum.SAMPLE_RATE)
        seen = slice(max(0, start - spectrum.SEGMENT), stop + spectrum.SEGMENT)
        denoised = noisy.copy()
        levelled = overlap_add(
            torch.from_numpy(noisy[:, seen] * gains[:, seen]),
            self._clean_windows,
            batch_size=self.batch_size,
            progress=lambda windows, of: report(windows / of),
        )
        denoised[:, seen] = levelled.numpy() / gains[:, seen]
        return carry_over(chunk.samples, rate, noisy, denoised)[:, chunk.start : chunk.stop]

    @torch.inference_mode()
    def _clean_windows(self, windows: Tensor) -> Tensor:
        """Cleans windows ``(N, 40800)`` at 16 kHz."""
        noisy = spectrum.stft(windows.to(self.device))
        image = spectrum.image(noisy)[:, None]
        predicted = self.model(image)
        if getattr(predicted, "shape", None) != image.shape:
            raise UserError(
                f"the model {self.name} does not return images {tuple(image.shape)} for as many: "
                f"give one that does, or the name of a version"
            )
        predicted = predicted[:, 0]
        if not bool(torch.isfinite(predicted).all()):
            raise UserError(
                f"the model {self.name} returns values that are not numbers: its weights are "
                f"damaged, choose another model or train it again"
            )
        return spectrum.istft(spectrum.apply_image(noisy, predicted), spectrum.SEGMENT).cpu()


def _alone() -> None:
    """In a forked process only one thread is left of those that torch computes with.

    The others would be waited for without end.
    """
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_alone)
