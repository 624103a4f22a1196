"""What a run trains and validates on: recordings in folders, divided and drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..counting import counted
from ..data.augment import preset
from ..data.corpus import Recording, join, recordings_of, scan_noise, scan_speech
from ..data.dataset import MixtureDataset, batches
from ..data.mixing import Stretches, read_segment
from ..data.prepared import open_cache
from ..data.shards import is_shards
from ..data.sources import Chances, noise_chances, speech_chances
from ..data.splits import split
from ..errors import UserError
from .distributed import ALONE, Processes
from .options import RunPlace, TrainingOptions
from .validation import fixed_batches, mixtures_for


class Material(Protocol):
    """Where the mixtures of a run come from."""

    def __len__(self) -> int:
        """Mixtures in an epoch, those of all processes."""

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[Stretches]:
        """This process's share of the batches of an epoch, from ``start_batch`` on."""

    def validation(self) -> Iterator[Stretches]:
        """The batches that every validation uses."""

    @property
    def damaged(self) -> Sequence[str | Path]:
        """What could not be decoded and was passed over, so far."""

    def describe(self) -> list[str]:
        """What it is made of, in a few lines."""


def find_material(
    options: TrainingOptions, place: RunPlace, processes: Processes = ALONE
) -> Material:
    """Folders or tar shards, whatever the places of a run are; of every batch one process's share.

    Raises:
        UserError: they are some of both, or nothing that can be trained on.
    """
    kinds = {is_shards(str(each)) for each in (*place.speech, *place.noise)}
    if kinds == {False}:
        return FolderMaterial(options, place, processes)
    if kinds == {True}:
        from .shard_material import ShardMaterial

        return ShardMaterial(options, place, processes)
    raise UserError(
        "--speech and --noise name both folders and tar shards: write the folders as shards with "
        "`denoise data shard`, or leave the shards out"
    )


class FolderMaterial:
    """Batches from folders of recordings, for training and for validation.

    Raises:
        UserError: a folder cannot be read, holds nothing, or leaves a split empty.
    """

    def __init__(
        self, options: TrainingOptions, place: RunPlace, processes: Processes = ALONE
    ) -> None:
        self.options = options
        self.place = place
        self.processes = processes
        voices = [scan_speech(folder) for folder in place.speech]
        sounds = [scan_noise(folder) for folder in place.noise]
        self.unreadable = [path for scan in (*voices, *sounds) for path in scan.unreadable]
        self.splits = split(
            join(recordings_of(scan, "speech") for scan in voices),
            join(recordings_of(scan, "noise") for scan in sounds),
            hold_out=options.hold_out or (),
        )
        self._require_recordings()
        train, held_out = self.splits.train, self.splits.validation
        used = [*train.speech, *train.noise, *held_out.speech, *held_out.noise]
        self.cache = open_cache(place.cache, used)
        self.reader = self.cache.read_segment if self.cache else read_segment
        self.speech_chances = speech_chances(train.speech, options.speech_weights)
        self.noise_chances = noise_chances(train.noise, options.noise_weights)
        self.dataset = MixtureDataset(
            train.speech,
            train.noise,
            seed=options.seed,
            augmentation=preset(options.augmentation),
            epoch_size=options.epoch_size,
            speech_chances=self.speech_chances,
            noise_chances=self.noise_chances,
            reader=self.reader,
        )

    def __len__(self) -> int:
        """Mixtures in an epoch."""
        return len(self.dataset)

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[Stretches]:
        """Batches of an epoch, from ``start_batch`` on."""
        return batches(
            self.dataset,
            epoch=epoch,
            batch_size=self.options.batch_size,
            seed=self.options.seed,
            workers=self.place.workers,
            start_batch=start_batch,
            share=(self.processes.rank, self.processes.count),
        )

    def validation(self) -> Iterator[Stretches]:
        """The batches that every validation uses."""
        count = mixtures_for(len(self))
        return fixed_batches(
            self.splits.validation, self.options.batch_size, self.place.workers, count, self.reader
        )

    @property
    def damaged(self) -> Sequence[Path]:
        """The files that could not be read or decoded and were passed over, so far."""
        return [*self.unreadable, *self.dataset.damaged]

    def describe(self) -> list[str]:
        """What it is made of, in a few lines."""
        lines = []
        for name, part in (("train", self.splits.train), ("validation", self.splits.validation)):
            speakers = counted(len({r.group for r in part.speech}), "speaker")
            hours = [sum(r.seconds for r in found) / 3600 for found in (part.speech, part.noise)]
            lines.append(
                f"{name:>10}: {counted(len(part.speech), 'speech file')}, {speakers}, "
                f"{hours[0]:.2f} h; {counted(len(part.noise), 'noise file')}, {hours[1]:.2f} h"
            )
        train, place = self.splits.train, self.place
        for what, folders, recordings, drawn in (
            ("speech", place.speech, train.speech, self.speech_chances),
            ("noise", place.noise, train.noise, self.noise_chances),
        ):
            if len(folders) > 1 and drawn is not None:
                lines.append(f"{what:>10}: {_shares(folders, recordings, drawn)}")
        if self.cache:
            lines.append(f"{'cache':>10}: {self.cache.summary}")
        return lines

    def _require_recordings(self) -> None:
        found = self.splits
        for name, part in (("train", found.train), ("validation", found.validation)):
            for what, folders in (("speech", self.place.speech), ("noise", self.place.noise)):
                if not getattr(part, what):
                    raise UserError(
                        f"{' and '.join(map(str, folders))} leaves no {what} for the {name} split: "
                        "add recordings of other speakers or noise sources"
                    )


def _shares(folders: Sequence[str | Path], recordings: Sequence[Recording], drawn: Chances) -> str:
    """How often each folder is drawn, such as ``"75 % a, 25 % b"``."""
    source = np.array([recording.source for recording in recordings])
    shares = (100 * drawn[source == number].sum() / drawn.sum() for number in range(len(folders)))
    return ", ".join(f"{share:.0f} % {f}" for share, f in zip(shares, folders, strict=True))
