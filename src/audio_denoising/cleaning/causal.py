"""A signal cleaned by v5 as it comes: block by block, at its own sample rate, with carried state.

A window of 32 ms has bins 31.25 Hz apart at every rate. The network hears the lowest 256 of them,
as it did in training at 16 kHz; the bins above get the gain of the top of that band. So there is no
resampler, no level to be known beforehand, and whatever the blocks are, the same samples come out.

What is carried from hop to hop: the last hop of input, the half-finished hop of output, how loud it
has been lately, and the recurrent states of the network. A recording is cleaned by the same steps,
so it comes out as the same samples, to the last bit. They are taken on the processor: a recurrence
goes frame by frame, and to start each of its operations on a GPU would take longer than to do it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from audio_denoising.dsp import frames
from audio_denoising.errors import UserError
from audio_denoising.models.causal_frames import FrameNetwork
from audio_denoising.models.causal_weights import Array
from audio_denoising.samples import Samples

if TYPE_CHECKING:
    from audio_denoising.cleaning.recording import Advance
    from audio_denoising.dsp.level import ActiveLevel

LOWEST_RATE, HIGHEST_RATE = 2_000, 192_000  # Hz


class CausalStream:
    """One signal of some channels, cleaned as it comes.

    The first sample that comes out is the first that went in, so nothing is late but by what is
    still held: between one and two hops, `latency` at most. It can be pickled.

    Args:
        weights: of v5's network, its normalisations folded (`causal_weights.folded`).
        rate: samples per second.
        channels: which the network hears apart from each other.

    Raises:
        UserError: a rate that v5 does not hear.
    """

    def __init__(self, weights: Mapping[str, Array], rate: int, channels: int = 1) -> None:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise UserError(
                f"v5 cleans sound of {LOWEST_RATE} to {HIGHEST_RATE} samples per second, not of "
                f"{rate}: convert the recording, for example to 16000 Hz"
            )
        self.rate, self.channels, self._weights = rate, channels, weights
        self._hop = frames.hop_at(rate)
        self._cleaners = [_Channel(FrameNetwork(weights), self._hop) for _ in range(channels)]
        self.reset()

    def __getstate__(self) -> dict[str, Any]:
        kept = {"_held": self._held, "_taken": self._taken}
        states = [[state.copy() for state in each.states] for each in self._cleaners]
        return {"opened": (self._weights, self.rate, self.channels), "kept": kept, "states": states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        CausalStream.__init__(self, *state["opened"])
        vars(self).update(state["kept"])
        for cleaner, states in zip(self._cleaners, state["states"], strict=True):
            for own, values in zip(cleaner.states, states, strict=True):
                own[:] = values

    @property
    def latency(self) -> int:
        """Samples by which output comes later than input at most: one window, 32 ms."""
        return 2 * self._hop

    def reset(self) -> None:
        """Begins a new signal."""
        self._held = np.zeros((self.channels, 0), np.float32)  # taken and not returned
        self._taken = 0
        for cleaner in self._cleaners:
            for state in cleaner.states:
                state[:] = 0

    def push(self, samples: Samples) -> tuple[Samples, Samples]:
        """Takes samples ``(channels, n)``, and returns those that are finished.

        Returns:
            Noisy and cleaned samples of the same instants, ``(channels, m)`` each.

        Raises:
            UserError: another number of channels, or a sample that is not a number; the stream
                stays as it was.
        """
        if samples.ndim != 2 or len(samples) != self.channels:
            raise UserError(
                f"this stream has {self.channels} channels: give it samples of that many rows, not "
                f"{samples.shape}"
            )
        if not np.isfinite(samples).all():
            place = self._taken + int(np.argmin(np.isfinite(samples).all(axis=0)))
            raise UserError(
                f"sample {place} ({place / self.rate:.3f} s) is not a number: the recording is "
                f"damaged there"
            )
        hop, hops_before = self._hop, self._taken // self._hop
        held = np.concatenate((self._held, samples), axis=1, dtype=np.float32)
        new = held[:, self._held.shape[1] - self._taken % hop :]
        self._taken += samples.shape[1]
        count = new.shape[1] // hop * hop
        cleaned = np.empty((self.channels, count), np.float32)
        for start in range(0, count, hop):
            for channel, cleaner in enumerate(self._cleaners):
                cleaner(new[channel, start : start + hop], cleaned[channel, start : start + hop])
        if count and not hops_before:
            cleaned = cleaned[:, hop:]  # silence in front of the signal
        self._held = held[:, cleaned.shape[1] :]
        return held[:, : cleaned.shape[1]], cleaned

    def flush(self) -> tuple[Samples, Samples]:
        """What is still held, as `push` returns it; begins a new signal."""
        noisy = self._held
        missing = 2 * self._hop - self._taken % self._hop
        _, cleaned = self.push(np.zeros((self.channels, missing), np.float32))
        self.reset()
        return noisy, cleaned[:, : noisy.shape[1]]


class _Channel:
    """One channel, hop by hop, in buffers made once.

    Attributes:
        states: what it remembers; zeros at the beginning of a signal.
    """

    def __init__(self, network: FrameNetwork, hop: int) -> None:
        band = min(frames.BINS, hop)
        self.network = network
        self.window, self.dual = (each.astype(np.float32) for each in frames.windows(hop))
        self.frame = np.zeros(2 * hop, np.float32)
        self.past, self.new = np.split(self.frame, 2)
        self.tail = np.zeros(hop, np.float32)  # the half-finished hop of output
        self.lately = np.zeros(2, np.float64)  # sums of loudness, and of its weights
        self.states: list[npt.NDArray[Any]] = [
            self.frame, self.tail, self.lately, *network.states,
        ]  # fmt: skip
        self.windowed, self.sound = np.empty((2, 2 * hop), np.float32)
        self.early, self.late = np.split(self.sound, 2)
        self.spectrum = np.empty(hop + 1, np.complex64)
        self.inside, self.beyond = np.split(self.spectrum, [band])
        self.modulus, self.share = np.empty((2, band), np.float32)
        shown = network.features.reshape(-1, 3)[:band]
        self.real, self.imaginary, self.heard_modulus = shown.T
        self.mask, self.mask_modulus = network.mask[:band], network.modulus[:band]
        self.top = self.modulus[-frames.TOP :]
        self.mean = np.full(len(self.top), 1 / len(self.top), np.float32)

    def __call__(self, samples: Samples, out: Samples) -> None:
        """Takes a hop and writes the hop before it, cleaned; both (hop,)."""
        modulus, share = self.modulus, self.share
        # NumPy's transforms keep to float32, whatever its stubs say of `out`.
        np.copyto(self.past, self.new)
        np.copyto(self.new, samples)
        np.multiply(self.frame, self.window, self.windowed)
        np.fft.rfft(self.windowed, out=self.spectrum)  # type: ignore[arg-type]
        # What the network hears: `compressed_spectrum.compress`, `evening` and `features`.
        np.abs(self.inside, modulus)
        np.maximum(modulus, frames.FLOOR, out=share)
        np.power(share, frames.POWER - 1, share)
        np.multiply(share, self.evening(), share)
        np.multiply(self.inside.real, share, self.real)
        np.multiply(self.inside.imag, share, self.imaginary)
        np.multiply(modulus, share, self.heard_modulus)
        self.network.answer()
        np.power(self.mask_modulus, frames.GAIN, share)
        np.multiply(self.mask_modulus, share, modulus)
        np.multiply(self.inside, self.mask, self.inside)
        np.multiply(self.inside, share, self.inside)
        np.multiply(self.beyond, np.dot(self.top, self.mean), self.beyond)
        np.fft.irfft(self.spectrum, len(self.frame), out=self.sound)  # type: ignore[arg-type]
        np.multiply(self.sound, self.dual, self.sound)
        np.add(self.tail, self.early, out)
        np.copyto(self.tail, self.late)

    def evening(self) -> float:
        """`compressed_spectrum.evening` of the frame whose moduli are at hand."""
        loudness = float(np.dot(self.modulus, self.modulus)) ** (frames.POWER / 2)
        total, weight = self.lately.tolist()
        heard = loudness > frames.SILENCE
        total, weight = frames.FADING * total + heard * loudness, frames.FADING * weight + heard
        self.lately[0], self.lately[1] = total, weight  # an array only to be carried as one
        return frames.LEVEL * (weight + frames.FIRST) / (total + frames.FIRST * frames.SILENCE)


@dataclass(frozen=True)
class CausalCleaner:
    """v5's network; the counterpart of `windows.WindowedCleaner`.

    Args:
        weights: its normalisations folded (`causal_weights.folded`).
        name: what to call it in reports.
    """

    needs_level: ClassVar[bool] = False
    device: ClassVar[str] = "cpu"

    weights: Mapping[str, Array]
    name: str

    def open(self, rate: int, channels: int = 1) -> CausalStream:
        """A stream of its own for one signal; many may be open at once, each in its own thread."""
        return CausalStream(self.weights, rate, channels)

    def clean(
        self, blocks: Iterable[Samples], rate: int, level: ActiveLevel | None, advance: Advance
    ) -> Iterator[tuple[Samples, Samples]]:
        """Cleans a signal as `WindowedCleaner.clean` does, in one pass; no level is needed."""
        stream: CausalStream | None = None
        for block in blocks:
            stream = stream or self.open(rate, len(block))
            yield stream.push(block)
            advance(block.shape[1] / rate)
        if stream is not None:
            yield stream.flush()
