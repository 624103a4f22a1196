"""A signal cleaned by a U-Net (v2 to v4), which sees windows of 2.55 s that overlap by half.

The signal is taken in chunks of a minute, so that memory stays bounded however long it is. A chunk
is brought to 16 kHz (`dsp.resampling`) and to the level that the network knows (`dsp.level`), cut
into windows, shown to the network as decibel images (`dsp.spectrum`) and brought back. Whatever
the blocks are in which the signal comes, the same samples come out.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.cleaning.recording import Advance
from audio_denoising.device import pick_device
from audio_denoising.dsp import spectrum
from audio_denoising.dsp.level import ActiveLevel
from audio_denoising.dsp.resampling import resample, resampled_length
from audio_denoising.dsp.spectrum import SAMPLE_RATE, SEGMENT
from audio_denoising.dsp.upper_band import carry_over
from audio_denoising.errors import UserError
from audio_denoising.models.checkpoint import build_model
from audio_denoising.models.header import Checkpoint
from audio_denoising.samples import Samples
from audio_denoising.torch_settings import usual_defaults

Model = Callable[[Tensor], Tensor]
"""Takes noisy images ``(N, 1, 256, 256)`` in [0, 1] and returns the predicted clean ones."""

# The shortest time that is a whole number of seconds (so that every sample rate cuts between
# samples) and of half windows at 16 kHz (so that every chunk meets the same grid of windows).
CHUNK_SECONDS = 51
CONTEXT_SECONDS = 3
_TOGETHER = 2  # channels; their windows fill the batches, and more would only take more memory


@dataclass(frozen=True)
class WindowedCleaner:
    """A U-Net, and how to compute with it; its counterpart for v5 is `causal.CausalCleaner`."""

    needs_level: ClassVar[bool] = True  # the whole signal must be heard before it is cleaned

    model: Model
    name: str  # what to call it in reports
    device: torch.device
    batch_size: int  # windows shown to it at once, those of all channels counted

    @classmethod
    def of(
        cls, model: Checkpoint | Model, name: str, device: str | torch.device, batch_size: int
    ) -> WindowedCleaner:
        """Of weights that were loaded, or of a network of the user's, of which it takes a copy.

        UserError where there is no such device.
        """
        chosen = pick_device(device)
        if isinstance(model, Checkpoint):
            model = build_model(model, chosen)
        elif isinstance(model, torch.nn.Module | nn.Module):
            model = copy.deepcopy(model).eval().to(device=chosen, dtype=torch.float32)
        return cls(model, name, chosen, batch_size)

    def clean(
        self, blocks: Iterable[Samples], rate: int, level: ActiveLevel | None, advance: Advance
    ) -> Iterator[tuple[Samples, Samples]]:
        """Cleans a signal in float32 blocks ``(C, n)`` at ``rate`` Hz, whose level is known.

        After every batch of windows ``advance`` is told of it.

        Yields:
            Noisy and cleaned samples ``(C, m)``, side by side; laid end to end they are the signal.
        """
        assert level is not None, "this network needs to know the level"
        position = 0  # of the chunk's first sample that counts
        for samples, start, stop in chunks(blocks, rate):
            length = resampled_length(samples.shape[1], rate, SAMPLE_RATE)
            gains = level.curve((position - start) / rate, length, SAMPLE_RATE)
            noisy = samples[:, start:stop]
            cleaned = np.empty_like(noisy)
            seconds = noisy.shape[1] / rate / len(noisy)  # of a channel, as a share of all
            for first in range(0, len(noisy), _TOGETHER):
                some = slice(first, first + _TOGETHER)
                those = samples[some], slice(start, stop), rate, gains[some]
                cleaned[some] = self._clean_chunk(*those, seconds, advance)
            position += stop - start
            yield noisy, cleaned

    @usual_defaults()
    def _clean_chunk(
        self,
        samples: Samples,
        counts: slice,
        rate: int,
        gains: Samples,
        seconds: float,
        advance: Advance,
    ) -> Samples:
        """Cleans what counts of a chunk ``(C, L)``, each channel for so many seconds."""
        noisy = resample(samples, rate, SAMPLE_RATE)
        # One window of context on either side, so that the windows of all chunks are those of the
        # whole recording. What is left of the context only keeps the resampler's edges away.
        first, last = (
            resampled_length(place, rate, SAMPLE_RATE) for place in (counts.start, counts.stop)
        )
        seen = slice(max(0, first - SEGMENT), last + SEGMENT)
        levelled = torch.from_numpy(noisy[:, seen] * gains[:, seen])
        each = seconds / window_count(levelled.shape[1])

        def clean_windows(windows: Tensor) -> Tensor:
            cleaned = self._clean_windows(windows)
            advance(len(windows) * each)
            return cleaned

        joined = overlap_add(levelled, clean_windows, batch_size=self.batch_size)
        denoised = noisy.copy()
        denoised[:, seen] = joined.numpy() / gains[:, seen]
        return carry_over(samples, rate, noisy, denoised)[:, counts]

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
        if not bool(torch.isfinite(predicted).all()):
            raise UserError(
                f"the model {self.name} returns values that are not numbers: its weights are "
                f"damaged, choose another model or train it again"
            )
        return spectrum.istft(spectrum.apply_image(noisy, predicted[:, 0]), SEGMENT).cpu()


def chunks(blocks: Iterable[Samples], rate: int) -> Iterator[tuple[Samples, int, int]]:
    """Cuts a signal that arrives in blocks ``(C, n)`` into chunks with some of their surroundings.

    Yields:
        Samples ``(C, L)`` of which ``[start, stop)`` counts, ``start`` and ``stop``; the rest is
        context. ``start`` is 0 in the first chunk, three seconds in every other. The parts that
        count are the signal when laid end to end.
    """
    core, context = CHUNK_SECONDS * rate, CONTEXT_SECONDS * rate
    held: Samples | None = None
    start = 0
    for block in blocks:
        held = block if held is None else np.concatenate((held, block), axis=1)
        while held.shape[1] >= start + core + context:
            yield held[:, : start + core + context], start, start + core
            held = held[:, start + core - context :]
            start = context
    while held is not None and held.shape[1] > start:
        stop = min(start + core, held.shape[1])
        yield held, start, stop
        held = held[:, stop - context :] if stop < held.shape[1] else None
        start = context


def window_count(length: int, size: int = SEGMENT) -> int:
    """Number of half-overlapped windows of ``size`` samples that cover ``length`` samples."""
    if length <= 0:
        return 0
    return max(0, math.ceil((length - size) / (size // 2))) + 1


def overlap_add(
    signal: Tensor, process: Callable[[Tensor], Tensor], *, size: int = SEGMENT, batch_size: int = 8
) -> Tensor:
    """Runs ``process`` over half-overlapped windows of ``signal`` and joins the results.

    Each window is faded in and out by a Hann slope; where two meet, the slopes add up to exactly
    one. The first has no fade-in and the last no fade-out, so the ends keep their level. Behind its
    end the signal is continued by its mirror image: zeros would be a sudden silence.

    Args:
        signal: real tensor ``(C, L)`` of any length, 0 included.
        process: takes windows ``(N, size)`` and returns as many. The channels take their turns in
            one batch. If it changes nothing, the result is the signal to within rounding.
        size: samples of a window, even.
    """
    channels, length = signal.shape
    if channels == 0 or length == 0:
        return signal.clone()
    hop = size // 2
    count = window_count(length, size)
    # The rising half of a Hann window at half-sample points: f(t) + f(hop - t) = 1.
    phase = (torch.arange(hop, dtype=torch.float64) + 0.5) / hop
    fade_in = torch.sin(0.5 * math.pi * phase).square().to(signal)
    fade_out = 1.0 - fade_in
    # Written behind the end as well, then cut: every window is whole.
    joined = signal.new_zeros(channels, (count + 1) * hop)
    places = [(channel, number) for number in range(count) for channel in range(channels)]
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        windows = torch.stack([_window(signal[channel], n * hop, size) for channel, n in batch])
        for (channel, n), processed in zip(batch, process(windows).to(joined), strict=True):
            first, second = processed[:hop], processed[hop:]
            whole = joined[channel, n * hop : n * hop + size]
            whole[:hop] += first if n == 0 else first * fade_in
            whole[hop:] += second if n == count - 1 else second * fade_out
    return joined[:, :length].contiguous()


def _window(channel: Tensor, start: int, size: int) -> Tensor:
    """``size`` samples of a channel from ``start``, mirrored back and forth behind its end."""
    length = channel.shape[0]
    if start + size <= length:
        return channel[start : start + size]
    position = torch.arange(start, start + size, device=channel.device) % (2 * length)
    return channel[torch.where(position < length, position, 2 * length - 1 - position)]


def _one_thread() -> None:
    """In a forked process torch's other threads are gone, and would be waited for without end."""
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_thread)
