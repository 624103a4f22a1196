"""Endless speech and noise to be mixed, each item a pure function of (seed, epoch, index).

Nothing depends on which worker makes an item, nor on the items made before it: training on two
workers or none, straight through or resumed in the middle of an epoch, sees the same batches.
Workers only decode; whoever trains mixes whole batches on its device (`mixing.mix_batch`).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from ..dsp.spectrum import SEGMENT
from ..errors import UserError
from .corpus import Recording
from .mixing import SILENCE, DamagedRecording, Stretches, Waveform, power, read_segment

VALIDATION_SIZE = 160  # mixtures: enough for a steady mean, few enough for every epoch

_STARTS = 4  # places tried in one recording before it counts as silent
_RECORDINGS = 64  # recordings tried before giving up
_LONGEST_WEIGHT = 60.0  # seconds

# Streams of random numbers that must not be the same where their other coordinates are.
_ORDER, _ITEM, _SHUFFLE = 0, 1, 2


class MixtureDataset(Dataset[Stretches]):
    """Speech, noise and a random signal-to-noise ratio to mix them at, in stretches of 2.55 s.

    ``dataset[epoch, index]`` is a `Stretches` of 40 800 samples. An epoch visits every speech
    recording once, in an order of its own, and starts over where ``epoch_size`` is larger than
    the corpus. A recording that turns out to be damaged is passed over in favour of the next one
    and remembered (`damaged`).

    Args:
        speech: recordings to draw speech from, as one split holds them.
        noise: recordings to draw noise from.
        seed: 0 or above; another seed gives other items.
        snr_range: lowest and highest ratio in dB, drawn uniformly.
        epoch_size: items in an epoch; by default the number of speech recordings.

    Raises:
        UserError: there is no speech or no noise, or (when an item is made) none can be decoded.
    """

    def __init__(
        self,
        speech: Sequence[Recording],
        noise: Sequence[Recording],
        *,
        seed: int = 0,
        snr_range: tuple[float, float] = (0.0, 15.0),
        epoch_size: int | None = None,
    ) -> None:
        for what, recordings in (("speech", speech), ("noise", noise)):
            if not recordings:
                raise UserError(
                    f"There is no {what} for this split; point --{what} at a folder "
                    "with more recordings (two groups at least: one trains, one validates)."
                )
        self.speech = list(speech)
        self.noise = list(noise)
        self._recordings = self.speech + self.noise  # a position is an index into this
        self.seed = seed
        self.snr_range = snr_range
        self.epoch_size = len(self.speech) if epoch_size is None else epoch_size
        # Noise is drawn by duration: every second of it is as likely as any other, except that
        # one very long file must not drown a folder of short ones.
        weights = np.cumsum([min(recording.seconds, _LONGEST_WEIGHT) for recording in noise])
        self._noise_ladder = weights / weights[-1]
        # Shared with the workers. A flag is only ever raised, so they need no lock.
        self._damaged = torch.zeros(len(self._recordings), dtype=torch.bool)
        self._damaged.share_memory_()

    def __len__(self) -> int:
        return self.epoch_size

    def __getitem__(self, position: tuple[int, int]) -> Stretches:
        epoch, index = position
        rng = np.random.default_rng([self.seed, _ITEM, epoch, index])
        speech = self._draw(self._speech_order(epoch, index), rng, self._speech_stretch)
        noise = self._draw(self._noise_draws(rng), rng, self._noise_stretch)
        recipe = torch.tensor([rng.uniform(*self.snr_range)], dtype=torch.float64)
        return Stretches(torch.from_numpy(speech), torch.from_numpy(noise), recipe)

    @property
    def damaged(self) -> list[Path]:
        """The files that could not be decoded so far, in any worker."""
        return [self._recordings[position].path for position in self._damaged.nonzero().flatten()]

    def _speech_order(self, epoch: int, index: int) -> Iterator[int]:
        """Yields the position of the recording due at ``index``, then those that follow it."""
        count = len(self.speech)
        lap, step = divmod(index, count)
        for position in np.roll(_permutation(count, self.seed, _ORDER, epoch, lap), -step):
            yield int(position)

    def _noise_draws(self, rng: np.random.Generator) -> Iterator[int]:
        while True:
            rung = np.searchsorted(self._noise_ladder, rng.random(), side="right")
            yield len(self.speech) + min(int(rung), len(self.noise) - 1)

    def _draw(
        self,
        candidates: Iterator[int],
        rng: np.random.Generator,
        stretch: Callable[[Recording, np.random.Generator], Waveform],
    ) -> Waveform:
        """The first stretch with sound in it; a silent one if the recordings hold nothing else."""
        silent = None
        failures: list[Path] = []
        for position in islice(candidates, _RECORDINGS):
            recording = self._recordings[position]
            try:
                for _ in range(_STARTS):
                    found = stretch(recording, rng)
                    if power(found) >= SILENCE:
                        return found
                    silent = found
            except DamagedRecording:
                self._damaged[position] = True
                failures.append(recording.path)
        if silent is None:
            raise UserError(
                f"None of {len(set(failures))} recordings could be decoded, {failures[0]} among "
                "them; check the files or copy them again."
            )
        return silent

    @staticmethod
    def _speech_stretch(recording: Recording, rng: np.random.Generator) -> Waveform:
        """A random 2.55 s; shorter speech stands at a random place among zeros."""
        spare = recording.samples - SEGMENT
        if spare >= 0:
            return read_segment(recording, int(rng.integers(spare + 1)), SEGMENT)
        before = int(rng.integers(-spare + 1))
        return np.pad(read_segment(recording, 0, SEGMENT), (before, -spare - before))

    @staticmethod
    def _noise_stretch(recording: Recording, rng: np.random.Generator) -> Waveform:
        """A random 2.55 s; shorter noise is repeated from a random place."""
        spare = recording.samples - SEGMENT
        if spare >= 0:
            return read_segment(recording, int(rng.integers(spare + 1)), SEGMENT)
        whole = read_segment(recording, 0, SEGMENT)
        return np.resize(np.roll(whole, -int(rng.integers(max(len(whole), 1)))), SEGMENT)


@lru_cache(maxsize=8)
def _permutation(count: int, *coordinates: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(coordinates).permutation(count)


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches the whole process group; the parent decides when its workers stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def batches(
    dataset: MixtureDataset,
    *,
    epoch: int,
    batch_size: int,
    seed: int = 0,
    workers: int = 0,
    start_batch: int = 0,
    shuffle: bool = True,
    drop_last: bool = True,
) -> Iterator[Stretches]:
    """Yields batches of one epoch: waveforms ``(N, 40800)``, recipes ``(N, K)``.

    The batches are the same for any number of ``workers`` (0 makes them in this process).
    ``start_batch`` resumes in the middle of an epoch without decoding what came before; ``seed``
    decides the order when ``shuffle`` is set. The global random state is not touched.

    Raises UserError where the recordings cannot be decoded.
    """
    order = np.arange(len(dataset))
    if shuffle:
        order = np.random.default_rng([seed, _SHUFFLE, epoch]).permutation(order)
    end = len(order) - len(order) % batch_size if drop_last else len(order)
    plan = [
        [(epoch, int(index)) for index in order[first : first + batch_size][: end - first]]
        for first in range(start_batch * batch_size, end, batch_size)
    ]
    loader = DataLoader(
        dataset,
        batch_sampler=plan,
        num_workers=workers,
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=_leave_signals_to_the_parent,
    )
    try:
        yield from loader
        return
    except UserError as error:
        # Out of a worker the message comes wrapped in its traceback; the sentence is the last line.
        sentence = str(error).strip().splitlines()[-1]
        # A kept traceback, or an error chained to it, would keep the workers. They are deaf to
        # SIGTERM, and the interpreter would wait for them at its end, for ever.
        error.__traceback__ = None
    raise UserError(sentence.split("UserError: ", 1)[-1])
