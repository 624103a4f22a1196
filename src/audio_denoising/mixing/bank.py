"""All recordings of one kind, speech or noise, as one tensor that whole batches are read from.

The samples may lie in a file (memory-mapped), in main memory or on a GPU; the small tables that
say where each recording starts and where it is active stay in main memory, since places are drawn
there.
"""

from __future__ import annotations

import logging
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audio_denoising.corpora.corpus import Recording
from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.folders import whole_folder
from audio_denoising.mixing.mixing import DamagedRecording, read_segment

Array = npt.NDArray[Any]

FRAME = 320  # samples (20 ms) that are active or not as one
SHORTEST = 2.0  # seconds that every recording counts at least: it goes round, so it fills a crop
_SEAM = 80  # samples (5 ms) over which the end of a recording fades into its beginning
_GUARD = 3  # samples around each recording that interpolation may touch
_GATE = 1e-2  # 20 dB below the mean of what is heard, a frame counts as a pause
_SILENT = 1e-8  # mean square (-80 dB below the peak) of frames that nobody hears
_PEAK = 30000  # of 32767: every recording uses the whole resolution, whatever its level was

_log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class SoundBank:
    """Recordings at 16 kHz, one behind the other.

    Attributes:
        samples: int16 ``(L,)``, each recording brought to the same peak.
        starts, lengths: int64 ``(R,)``, in samples; starts are multiples of `FRAME`.
        groups: int64 ``(R,)``, the speaker or noise source of each recording as a number.
        chances: float64 ``(R,)``, how often each recording is drawn; they add up to 1.
        active: int32 ``(L / FRAME + 1,)``, how many of the frames before this one are active.
    """

    samples: Tensor
    starts: Array
    lengths: Array
    groups: Array
    chances: Array
    active: Array

    @classmethod
    def load(
        cls,
        recordings: Sequence[Recording],
        *,
        weights: Sequence[float] | None = None,
        longest: float = 60.0,
    ) -> SoundBank:
        """Decodes the recordings with all cores; damaged and silent ones are left out, with a
        warning.

        Args:
            recordings: as `index_speech` or `index_noise` lists them.
            weights: how often each source (the folders that were indexed) is drawn. By default
                the square root of its seconds, so that small folders are heard too.
            longest: seconds that one group counts at most, so that no voice dominates.

        Raises:
            UserError: no recording has sound in it.
        """
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = list(pool.map(_decode, recordings))
        found = [(r, d) for r, d in zip(recordings, decoded, strict=True) if d is not None]
        if len(found) < len(recordings):
            lost = next(r.path for r, d in zip(recordings, decoded, strict=True) if d is None)
            _log.warning(
                "%d of %d recordings are damaged or silent and are left out; the first is %s.",
                *(len(recordings) - len(found), len(recordings), lost),
            )
        if not found:
            raise UserError(
                "None of the recordings to train on has sound in it; check the folders given."
            )
        kept = [recording for recording, _ in found]
        bank = cls.of([sound for _, sound in found])
        numbers = {name: n for n, name in enumerate(sorted({r.group for r in kept}))}
        groups = np.array([numbers[r.group] for r in kept])
        return replace(bank, groups=groups, chances=fair_chances(kept, weights, longest))

    @classmethod
    def of(cls, sounds: Sequence[Array]) -> SoundBank:
        """A bank of float or int16 waveforms ``(L,)``, each a group of its own, all as likely."""
        looped = [_loop(sound) for sound in sounds]
        lengths = np.array([len(sound) for sound in looped])
        slots = -(-(lengths + _GUARD) // FRAME) * FRAME
        starts = FRAME + np.concatenate(([0], np.cumsum(slots)[:-1]))
        samples = np.zeros(FRAME + int(slots.sum()), np.int16)
        active = np.zeros(len(samples) // FRAME + 1, np.int32)
        for start, sound in zip(starts, looped, strict=True):
            end = start + len(sound)
            # Interpolation reads one sample before and two behind: those that follow in the loop.
            samples[start - 1 : end + 2] = np.pad(sound, (1, 2), mode="wrap")
            heard = _active(sound)
            active[start // FRAME + 1 :][: len(heard)] = heard
        return cls(
            torch.from_numpy(samples),
            *(starts, lengths, np.arange(len(looped)), np.full(len(looped), 1 / len(looped))),
            np.cumsum(active, dtype=np.int32),
        )

    @property
    def seconds(self) -> float:
        """Duration of all recordings together."""
        return float(self.lengths.sum()) / SAMPLE_RATE

    def to(self, device: torch.device | str) -> SoundBank:
        """The same with the samples on ``device``."""
        return replace(self, samples=self.samples.to(device))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the bank into a folder that `open` maps into memory; it appears whole or not."""
        names = ("starts", "lengths", "groups", "chances", "active")
        tables: dict[str, Any] = {name: getattr(self, name) for name in names}
        with whole_folder(Path(folder)) as draft:
            np.save(draft / "samples.npy", self.samples.cpu().numpy())
            np.savez(draft / "tables.npz", **tables)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> SoundBank:
        """The bank that `save` wrote; its samples are read from the file when they are needed.

        Raises UserError if there is none.
        """
        place = Path(folder)
        try:
            # "c": torch wants memory that may be written to; nothing ever reaches the file.
            samples = np.load(place / "samples.npy", mmap_mode="c")
            with np.load(place / "tables.npz") as tables:
                return cls(torch.from_numpy(samples), **tables)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{place} holds no readable sound bank ({error}); delete it and it is made anew."
            ) from error

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
        """The crops as float32 ``(N, samples)`` on the device of the bank, cubic interpolation.

        Args:
            crops: arrays of one shape ``(N,)``; an offset may lie anywhere, even before 0.
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
    recordings: Sequence[Recording], weights: Sequence[float] | None, longest: float
) -> Array:
    """How often each recording is drawn, float64 ``(R,)`` with sum 1.

    Sources share the draws by their weights, the groups of a source by their seconds, but no
    group counts more than ``longest`` and no recording less than `SHORTEST`. A recording has the
    part of its group's chance that it has of the group's seconds.
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


def _decode(recording: Recording) -> Array | None:
    """int16 ``(L,)`` at the common peak, or None where there is nothing to hear."""
    try:
        sound = read_segment(recording, 0, recording.samples)
    except DamagedRecording:
        return None
    sound = sound - sound.mean()
    peak = float(np.abs(sound).max(initial=0.0))
    # -70 dB re full scale: what is louder only there is the noise of a converter.
    return np.rint(sound * (_PEAK / peak)).astype(np.int16) if peak > 3e-4 else None


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
