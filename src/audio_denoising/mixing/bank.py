"""All recordings of one kind, speech or noise, as one tensor that whole batches are read from.

The samples may lie in a file (memory-mapped), in main memory or on a GPU; the small tables that
say where each recording starts stay in main memory, since places are drawn there.
"""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audio_denoising.corpora.corpus import Recording

Array = npt.NDArray[Any]

FRAME = 320  # samples (20 ms) that are active or not as one
SHORTEST = 2.0  # seconds that every recording counts at least: it goes round, so it fills a crop
_SEAM = 80  # samples (5 ms) over which the end of a recording fades into its beginning
# Mean square, 60 dB below the peak of a recording: a rest of this kind is not made any louder.
SILENCE = 1e-6
_GATE = 1e-2  # 20 dB below the mean of what is heard, a frame counts as a pause
_SILENT = 1e-8  # mean square (-80 dB below the peak) of frames that nobody hears


class Crops(NamedTuple):
    """Stretches to be read, arrays of one shape: places and speeds in samples of the bank.

    Sample t of a stretch is the recording at ``offset + t · speed``. Behind its end follow
    ``pause`` samples of silence, then it starts again.
    """

    recording: Array
    offset: Array
    speed: Array
    pause: Array

    def take(self, rows: Array | slice) -> Crops:
        """Some of them."""
        return Crops(*(part[rows] for part in self))

    def join(self, other: Crops) -> Crops:
        """These, then the others."""
        return Crops(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))


class Tape:
    """Two growing files: recordings end to end, and how many frames before each are active.

    Around every recording stand the samples that follow when it goes round, since interpolation
    reads one sample before it and two behind.

    Args:
        samples, active: open for appending, int16 and int32; empty for a new tape.
    """

    def __init__(self, samples: BinaryIO, active: BinaryIO, frames: int = 0, count: int = 0):
        self.samples, self.active = samples, active
        self.frames, self.count = frames, count  # on the tape, and how many of them are active
        if not frames:
            self._write(np.zeros(FRAME - 1, np.int16), np.zeros(2, np.int32), 1)

    def append(self, sound: Array) -> tuple[int, int]:
        """Adds a float or int16 waveform ``(L,)``: where it starts and how long it is now."""
        looped = _loop(sound)
        start = self.frames * FRAME
        around = np.pad(looped, (1, 2), mode="wrap")
        frames = len(around) // FRAME + 1
        heard = np.zeros(frames, np.int32)
        heard[: -(-len(looped) // FRAME)] = _active(looped)
        counts = self.count + np.cumsum(heard, dtype=np.int32)
        self.count = int(counts[-1])
        self._write(np.pad(around, (0, frames * FRAME - len(around))), counts, frames)
        return start, len(looped)

    def _write(self, samples: Array, active: Array, frames: int) -> None:
        self.samples.write(samples.tobytes())
        self.active.write(active.tobytes())
        self.frames += frames


@dataclass(frozen=True)
class SoundBank:
    """R recordings at 16 kHz on one tape; the tables of R numbers are int64 and float64."""

    samples: Tensor  # int16 (L,), each recording brought to the same peak
    active: Array  # int32 (L / FRAME + 1,), how many of the frames before this one are active
    starts: Array  # in samples, multiples of `FRAME`
    lengths: Array
    groups: Array  # the speaker or noise source of each recording as a number
    chances: Array  # how often each recording is drawn; they add up to 1
    gains: Array  # what brings each back to the level that it was recorded at

    @classmethod
    def of(cls, sounds: Sequence[Array]) -> SoundBank:
        """A bank of float or int16 waveforms ``(L,)``, each a group of its own, all as likely."""
        buffers = io.BytesIO(), io.BytesIO()
        tape = Tape(*buffers)
        starts, lengths = np.array([tape.append(sound) for sound in sounds]).T
        samples, active = (
            np.frombuffer(buffer.getbuffer(), kind)
            for buffer, kind in zip(buffers, (np.int16, np.int32), strict=True)
        )
        count = len(sounds)
        shares = np.arange(count), np.full(count, 1 / count), np.ones(count)
        return cls(torch.from_numpy(samples), active, starts, lengths, *shares)

    def draw(self, random: np.random.Generator, shape: int | tuple[int, ...]) -> Array:
        """Numbers of recordings, drawn by their chances."""
        bounds = np.cumsum(self.chances)
        found = np.searchsorted(bounds, random.random(shape) * bounds[-1], side="right")
        return np.minimum(found, len(bounds) - 1)

    def active_share(self, crops: Crops, samples: int) -> Array:
        """Which part of crops of ``samples`` samples is active, 0 to 1."""
        first = self.starts[crops.recording] // FRAME
        length = self.lengths[crops.recording]
        frames = -(-length // FRAME)
        before = self.active[first]
        whole = self.active[first + frames] - before

        def count(place: Array) -> Array:
            rounds, rest = np.divmod(place, length + crops.pause)
            inside = np.minimum(rest // FRAME, frames).astype(np.int64)
            return np.asarray(rounds * whole + self.active[first + inside] - before)

        span = samples * crops.speed
        share = (count(crops.offset + span) - count(crops.offset)) * FRAME / span
        return np.asarray(np.clip(share, 0.0, 1.0))

    def read(self, crops: Crops, samples: int) -> Tensor:
        """Crops ``(N,)`` as float32 ``(N, samples)`` on the bank's device, by cubic interpolation.

        An offset may lie anywhere, even before 0.
        """
        numbers = (self.starts[crops.recording], self.lengths[crops.recording], *crops[1:])
        table = to_device(np.stack(numbers).astype(np.float64), self.samples.device)
        start, length, offset, speed, pause = table[:, :, None]
        # float64: the fraction of a sample must be right a million samples away from the start.
        place = torch.arange(samples, dtype=torch.float64, device=table.device) * speed
        place += offset
        period = length + pause
        place -= (place / period).floor_().mul_(period)
        whole = place.floor().clamp_(max=length)
        heard = whole < length
        index = (whole + start).long()
        sound = self.samples[index].float()
        between = np.flatnonzero((crops.speed != 1) | (crops.offset % 1 != 0))
        if len(between):
            rows = to_device(between, table.device)
            part = place[rows].sub_(whole[rows]).float()
            index = index[rows]
            x0, x2, x3 = (self.samples[index + shift].float() for shift in (-1, 1, 2))
            sound.index_copy_(0, rows, _spline(x0, sound[rows], x2, x3, part))
        return sound.mul_(heard).mul_(1 / 32768)


def even(sound: Tensor) -> Tensor:
    """The rows of ``(N, L)`` at a mean square of 1; silence stays silent."""
    return sound * sound.square().mean(dim=1, keepdim=True).clamp_min(SILENCE).rsqrt()


def _spline(x0: Tensor, x1: Tensor, x2: Tensor, x3: Tensor, part: Tensor) -> Tensor:
    """Catmull and Rom's cubic through four samples, ``part`` of the way from ``x1`` to ``x2``."""
    cubic = (x1 - x2).mul_(3).add_(x3).sub_(x0)
    square = x2.mul(4).sub_(x3).sub_(x1, alpha=5).add_(x0, alpha=2)
    cubic.mul_(part).add_(square).mul_(part).add_(x2).sub_(x0)
    return cubic.mul_(part).mul_(0.5).add_(x1)


def to_device(array: Array, device: torch.device) -> Tensor:
    """The array on ``device``; the program does not wait for the copy."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def fair_chances(
    recordings: Sequence[Recording], weights: Sequence[float] | None, longest: float = 60.0
) -> Array:
    """How often each recording is drawn, float64 ``(R,)`` with sum 1.

    Sources, the folders that were given, share the draws by their weights, by default the square
    roots of their seconds, so that small folders are heard too; the groups of a source by their
    seconds. No group counts more than ``longest`` seconds, so that no voice dominates, and no
    recording less than `SHORTEST`. A recording has the part of its group's chance that it has of
    the group's seconds.
    """
    seconds = [max(recording.seconds, SHORTEST) for recording in recordings]
    whole: dict[tuple[int, str], float] = defaultdict(float)
    for recording, lasts in zip(recordings, seconds, strict=True):
        whole[recording.source, recording.group] += lasts
    counted: dict[int, float] = defaultdict(float)
    for (source, _), lasts in whole.items():
        counted[source] += min(lasts, longest)
    share = {
        source: (math.sqrt(total) if weights is None else weights[source]) / total
        for source, total in counted.items()
    }
    chances = np.empty(len(recordings))
    for position, (recording, lasts) in enumerate(zip(recordings, seconds, strict=True)):
        group = whole[recording.source, recording.group]
        chances[position] = share[recording.source] * min(group, longest) * lasts / group
    return np.asarray(chances / chances.sum())


def _loop(sound: Array) -> Array:
    """int16 ``(L,)`` whose end goes on at its beginning without a click."""
    if sound.dtype != np.int16:
        sound = np.rint(np.clip(sound, -1, 1) * 32767).astype(np.int16)
    seam = min(_SEAM, len(sound) // 4)
    if not seam:
        return sound
    fade = (np.arange(seam) + 0.5) / seam
    joined = sound[: len(sound) - seam].copy()
    joined[:seam] = np.rint(sound[:seam] * fade + sound[len(sound) - seam :] * (1 - fade))
    return joined


def _active(sound: Array) -> Array:
    """Which frames of an int16 waveform are active, bool; the last may be shorter."""
    padded = np.pad(sound, (0, -len(sound) % FRAME)).astype(np.float32) / 32768
    powers = np.square(padded).reshape(-1, FRAME).mean(axis=1)
    heard = powers > _SILENT
    if not heard.any():
        return heard
    return np.asarray(powers > max(_SILENT, _GATE * powers[heard].mean()))
