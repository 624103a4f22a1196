"""Endless speech and noise to be mixed, each item a pure function of (seed, epoch, index).

Nothing depends on which worker makes an item, nor on the items made before it: training on two
workers or none, straight through or resumed in the middle of an epoch, sees the same batches.
Workers only decode; whoever trains mixes whole batches on its device (`mixtures.make_mixtures`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from audio_denoising.corpora.corpus import Recording
from audio_denoising.corpora.sources import LONGEST_NOISE, Chances, chances
from audio_denoising.errors import UserError
from audio_denoising.mixing.augment import ORIGINAL, Augmentation
from audio_denoising.mixing.drawing import draw_item
from audio_denoising.mixing.loading import deliver, leave_signals_to_the_parent
from audio_denoising.mixing.mixing import Stretches, Waveform, read_segment

VALIDATION_SIZE = 160  # mixtures: enough for a steady mean, few enough for every epoch

# Streams of random numbers that must not be the same where their other coordinates are.
_ORDER, _ITEM, _SHUFFLE, _RECIPE = range(4)


Reader = Callable[[Recording, int, int], Waveform]


class _Entry(NamedTuple):
    """A recording, its position in the dataset, and how it is read: a `drawing.Sound`."""

    position: int
    recording: Recording
    reader: Reader

    @property
    def name(self) -> str:
        return str(self.recording.path)

    @property
    def samples(self) -> int:
        return self.recording.samples

    def read(self, start: int, length: int) -> Waveform:
        return self.reader(self.recording, start, length)


class MixtureDataset(Dataset[Stretches]):
    """Speech, noise and the recipe to mix them by, in stretches of 2.55 s.

    ``dataset[epoch, index]`` is a `Stretches` of 40 800 samples. An epoch visits every speech
    recording once, in an order of its own, and starts over where ``epoch_size`` is larger than
    the corpus; given chances, it visits a recording as often as these say, spread evenly. A
    recording that turns out to be damaged is passed over in favour of another one and remembered
    (`damaged`).

    Args:
        speech: recordings to draw speech from, as one split holds them.
        noise: recordings to draw noise from.
        seed: 0 or above; another seed gives other items.
        augmentation: what may happen to a mixture besides the noise, and the ratios.
        epoch_size: items in an epoch; by default the number of speech recordings.
        speech_chances, noise_chances: how often each recording is drawn, relative to the others
            (see `sources`); by default speech is visited as above, and noise is drawn by duration.
        reader: what reads a part of a recording: it decodes, or looks into the cache.

    Raises:
        UserError: there is no speech or no noise, or (when an item is made) none can be decoded.
    """

    def __init__(
        self,
        speech: Sequence[Recording],
        noise: Sequence[Recording],
        *,
        seed: int = 0,
        augmentation: Augmentation = ORIGINAL,
        epoch_size: int | None = None,
        speech_chances: Chances | None = None,
        noise_chances: Chances | None = None,
        reader: Reader = read_segment,
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
        self.augmentation = augmentation
        self.reader = reader
        self.epoch_size = len(self.speech) if epoch_size is None else epoch_size
        self._speech_ladder = None if speech_chances is None else _ladder(speech_chances)
        if noise_chances is None:
            noise_chances = chances(noise, longest=LONGEST_NOISE)
        self._noise_ladder = _ladder(noise_chances)
        # Shared with the workers. A flag is only ever raised, so they need no lock.
        self._damaged = torch.zeros(len(self._recordings), dtype=torch.bool)
        self._damaged.share_memory_()

    def __len__(self) -> int:
        return self.epoch_size

    def __getitem__(self, position: tuple[int, int]) -> Stretches:
        epoch, index = position
        rng, choices = (
            np.random.default_rng([self.seed, stream, epoch, index]) for stream in (_ITEM, _RECIPE)
        )
        return draw_item(
            map(self._entry, self._speech_visits(epoch, index, rng)),
            map(self._entry, self._noise_draws(rng)),
            self.augmentation.draw(choices),
            self.augmentation,
            rng,
            self._remember_damage,
        )

    @property
    def damaged(self) -> list[Path]:
        """The files that could not be decoded so far, in any worker."""
        return [self._recordings[position].path for position in self._damaged.nonzero().flatten()]

    def _entry(self, position: int) -> _Entry:
        return _Entry(position, self._recordings[position], self.reader)

    def _remember_damage(self, entry: _Entry) -> None:
        self._damaged[entry.position] = True

    def _speech_visits(self, epoch: int, index: int, rng: np.random.Generator) -> Iterator[int]:
        """Yields the position of the recording due at ``index``, then others to stand in for it."""
        if self._speech_ladder is None:
            count = len(self.speech)
            lap, step = divmod(index, count)
            order = _permutation(count, self.seed, _ORDER, epoch, lap)
            yield from (int(order[(step + further) % count]) for further in range(count))
            return
        # One draw from each of as many equal parts of the ladder as there are items, in an order of
        # the epoch's own: chances are met within a visit or two, not only in the long run.
        part = _permutation(self.epoch_size, self.seed, _ORDER, epoch)[index]
        yield _rung(self._speech_ladder, (part + rng.random()) / self.epoch_size)
        while True:
            yield _rung(self._speech_ladder, rng.random())

    def _noise_draws(self, rng: np.random.Generator) -> Iterator[int]:
        while True:
            yield len(self.speech) + _rung(self._noise_ladder, rng.random())


def _ladder(chances: Chances) -> Chances:
    """Each recording's upper end on the way from 0 to 1."""
    heights = np.cumsum(chances)
    return heights / heights[-1]


def _rung(ladder: Chances, height: float) -> int:
    """The recording that stands at ``height``, 0 to 1."""
    return min(int(np.searchsorted(ladder, height, side="right")), len(ladder) - 1)


@lru_cache(maxsize=8)
def _permutation(count: int, *coordinates: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(coordinates).permutation(count)


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
    share: tuple[int, int] = (0, 1),
) -> Iterator[Stretches]:
    """Yields batches of one epoch: waveforms ``(N, 40800)``, recipes ``(N, K)``.

    The batches are the same for any number of ``workers`` (0 makes them in this process).
    ``start_batch`` resumes in the middle of an epoch without decoding what came before; ``seed``
    decides the order when ``shuffle`` is set. Of every batch ``share=(rank, ranks)`` takes the
    items rank, rank + ranks, ... The global random state is not touched.

    Raises UserError where the recordings cannot be decoded.
    """
    order = np.arange(len(dataset))
    if shuffle:
        order = np.random.default_rng([seed, _SHUFFLE, epoch]).permutation(order)
    end = len(order) - len(order) % batch_size if drop_last else len(order)
    rank, ranks = share
    plan = [
        [(epoch, int(index)) for index in order[first : min(first + batch_size, end)][rank::ranks]]
        for first in range(start_batch * batch_size, end, batch_size)
    ]
    loader = DataLoader(
        dataset,
        batch_sampler=plan,
        num_workers=workers,
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=leave_signals_to_the_parent,
    )
    yield from deliver(loader)
