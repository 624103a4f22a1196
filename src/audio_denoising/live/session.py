"""Between the devices: blocks of a microphone come in, cleaned samples go out.

A device calls back when it has a block or wants one, on a thread that must not wait: where it does,
sound is lost. So `Session.hear` only puts a block into a queue and `Ring.read` only copies out of a
ring; all work is done between them, by `Session.run` on a thread of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from queue import SimpleQueue

import numpy as np

from audio_denoising.cleaning.stream import Stream
from audio_denoising.media.writing import AudioWriter
from audio_denoising.samples import Samples

_MOST_WAITING = 128  # blocks that the microphone may be ahead of the work, a second
_MEMORY = 0.3  # seconds over which levels are averaged
_LOWEST = 1e-10  # power of -100 dB, which silence is said to have


class Ring:
    """Samples on their way to an output: one thread writes, another reads, neither waits.

    Nothing is played before `low` samples are there, and what is missing later is silence, by which
    all that follows is later. What is waiting all the time that `most` samples take is kept near
    half of `low`: where a burst or a stall left more than `low`, or the output is slower than the
    microphone, the reader goes over the rest; where an output that is quicker left less than a
    quarter of it, it goes back and plays as much again. Both are faded. For an output that stops
    `most` samples are kept.

    Attributes:
        asked: samples that the output wanted since it began.
        ended: whether nothing more is to come.
        underruns: how often it wanted samples that were not there yet.
        dropped: blocks for which there was no room.
        skipped: samples that the reader went over.
    """

    def __init__(self, low: int, most: int) -> None:
        self._low = low
        self._samples = np.zeros(most, np.float32)
        self._written = self._read = 0
        self._least, self._period = most, 0  # that waited, over how many samples so far
        self._short = self.ended = False
        self.underruns = self.dropped = self.skipped = 0
        self.begin()

    def begin(self) -> None:
        """Makes ready for an output that is opened, or opened anew."""
        self.playing, self.asked = False, 0

    @property
    def waiting(self) -> int:
        """Samples that are not played yet."""
        return self._written - self._read

    def write(self, block: Samples) -> None:
        """Appends samples ``(n,)``, or drops them all."""
        if self.waiting + len(block) > len(self._samples):
            if self.playing:
                self.dropped += 1
                return
            self._skip(len(block))  # of what came while nobody listened
        self._samples[self._places(self._written, len(block))] = block
        self._written += len(block)

    def read(self, out: Samples) -> None:
        """Fills ``(n, channels)``, every channel alike; what is missing is silence."""
        self.asked += len(out)
        self.playing = self.playing or self.waiting >= self._low
        count = min(len(out), self.waiting) if self.playing else 0
        out[:count] = self._samples[self._places(self._read, count), None]
        out[count:] = 0
        self._read += count
        if self.playing:
            before, self._short = self._short, count < len(out)
            self.underruns += self._short and not before and not self.ended
            self._keep_time(out)

    def _keep_time(self, out: Samples) -> None:
        """Once in `most` samples goes over what is too much, or back, and fades `out` to that."""
        self._least, self._period = min(self._least, self.waiting), self._period + len(out)
        if self._period < len(self._samples) and not self._short:
            return
        if not self._short and not self._low // 4 <= self._least <= self._low:
            self._skip(self._least - self._low // 2)
            there = self._samples[self._places(self._read - len(out), len(out)), None]
            out += np.linspace(0, 1, len(out), dtype=np.float32)[:, None] * (there - out)
        self._least, self._period = len(self._samples), 0

    def _skip(self, count: int) -> None:
        self._read += count
        self.skipped += max(0, count)

    def _places(self, first: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.arange(first, first + count) % len(self._samples)


class Session:
    """One microphone, cleaned on the thread that calls `run` until another calls `end`.

    Args:
        stream: cleans one channel.
        rings: where the cleaned voice goes.
        strength: percent of the noise removal.

    Attributes:
        strength: may be changed at any time; the change fades in over a block.
        bypass: likewise; the noisy voice is then heard, as late as the cleaned one.
        heard: when the last block came, by `time.monotonic`.
        lost: blocks of the microphone that came while the work was behind.
        damaged: blocks in which a sample was not a number; it was taken for silence.
        samples: of the microphone, so far.
    """

    def __init__(self, stream: Stream, rings: Sequence[Ring] = (), strength: float = 100.0) -> None:
        self._stream, self._rings = stream, rings
        self._writer: AudioWriter | None = None
        self._blocks: SimpleQueue[Samples | None] = SimpleQueue()
        self._held = np.zeros(0, np.float32)
        self._powers, self._energies = np.zeros((2, 3))
        self._busy = 0.0
        self._last: float | None = None  # the latency at the end
        self.strength, self.bypass = strength, False
        self._share = self._wanted_share()  # of the noisy voice, at the end of the last block
        self.heard = time.monotonic()
        self.lost = self.damaged = self.samples = 0

    @property
    def hop(self) -> int:
        """Samples that the network takes at once, 16 ms."""
        return self._stream.latency // 2

    @property
    def seconds(self) -> float:
        """Sound so far."""
        return self.samples / self._stream.sample_rate

    @property
    def latency(self) -> float:
        """Seconds between microphone and output, beside what the devices add; then, as at `end`."""
        if self._last is not None:
            return self._last
        waiting = max((ring.waiting for ring in self._rings), default=0)
        return (self._stream.latency + waiting) / self._stream.sample_rate

    @property
    def underruns(self) -> int:
        """How often an output had to play silence because nothing was there."""
        return sum(ring.underruns for ring in self._rings)

    @property
    def dropped(self) -> int:
        """Blocks that were not cleaned, or not played."""
        return self.lost + sum(ring.dropped for ring in self._rings)

    @property
    def skipped(self) -> float:
        """Seconds of the cleaned voice that an output went over to be in time again."""
        return max((ring.skipped for ring in self._rings), default=0) / self._stream.sample_rate

    @property
    def load(self) -> float:
        """Share of a processor that the cleaning takes: its real-time factor."""
        return self._busy / max(self.seconds, 1e-9)

    def levels(self, *, overall: bool = False) -> tuple[float, ...]:
        """Level of the noisy voice, of what is heard, and of what was taken out, in dB.

        Re full scale, of about the last third of a second, or of all so far.
        """
        powers = self._energies / max(self.samples, 1) if overall else self._powers
        return tuple(10 * math.log10(max(power, _LOWEST)) for power in powers)

    def hear(self, block: Samples) -> None:
        """Takes samples ``(n,)`` of the microphone, which are the session's own from now on."""
        self.heard = time.monotonic()
        if self._blocks.qsize() < _MOST_WAITING:
            self._blocks.put(block)
        else:
            self.lost += 1

    def end(self) -> None:
        """Lets `run` return once it has cleaned what it was given."""
        self._last = self.latency
        for ring in self._rings:
            ring.ended = True
        self._blocks.put(None)

    def run(self, writer: AudioWriter | None = None) -> None:
        """Cleans until `end`; a file of one channel gets the voice, too.

        Raises:
            UserError: the file cannot be written.
        """
        self._writer = writer
        self._stream.push(np.zeros(2 * self._stream.latency, np.float32))
        self._stream.reset()  # what a network does but once is done before the first block
        while (block := self._blocks.get()) is not None:
            self._clean(block)
        self._hand_on(self._stream.flush())

    def _clean(self, block: Samples) -> None:
        started = time.thread_time()
        if not np.isfinite(block).all():
            self.damaged += 1
            block = np.where(np.isfinite(block), block, np.float32(0)).astype(np.float32)
        self._held = np.concatenate((self._held, block))
        self.samples += len(block)
        self._hand_on(np.asarray(self._stream.push(block), np.float32))
        self._busy += time.thread_time() - started

    def _hand_on(self, cleaned: Samples) -> None:
        """Mixes cleaned samples with the noisy ones of the same instants, and sends them out."""
        count = len(cleaned)
        if not count:
            return
        noisy, self._held = self._held[:count], self._held[count:]
        before, self._share = self._share, self._wanted_share()
        share = np.linspace(before, self._share, count, dtype=np.float32)
        heard = cleaned + share * (noisy - cleaned)
        energies = np.array([np.vdot(x, x) for x in (noisy, heard, noisy - heard)], np.float64)
        self._energies += energies
        memory = math.exp(-count / self._stream.sample_rate / _MEMORY)
        self._powers = memory * self._powers + (1 - memory) * energies / count
        for ring in self._rings:
            ring.write(heard)
        if self._writer is not None:
            self._writer.write(heard[None])

    def _wanted_share(self) -> float:
        return 1.0 if self.bypass else 1.0 - self.strength / 100.0
