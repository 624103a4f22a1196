"""What a run trains and validates on: recordings in folders, divided and drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from audio_denoising.corpora.corpus import Recording, join, recordings_of, scan_noise, scan_speech
from audio_denoising.corpora.sources import Chances, noise_chances, speech_chances
from audio_denoising.corpora.splits import Split, Splits, split
from audio_denoising.errors import UserError, counted
from audio_denoising.mixing.augment import preset
from audio_denoising.mixing.dataset import MixtureDataset, batches
from audio_denoising.mixing.mixing import Stretches, read_segment
from audio_denoising.mixing.mixtures import Pair, mixed
from audio_denoising.mixing.prepared import open_cache
from audio_denoising.mixing.shards import is_shards
from audio_denoising.training.options import ALONE, RICH, Processes, RunPlace, TrainingOptions
from audio_denoising.training.validation import fixed_batches, mixtures_for

NON_COMMERCIAL = "non-commercial use"  # how a licence with this condition begins

_CPU = torch.device("cpu")


class Material(Protocol):
    """Where the mixtures of a run come from."""

    def __len__(self) -> int:
        """Mixtures in an epoch, those of all processes."""

    def mixtures(self, epoch: int, start_batch: int = 0) -> Iterator[Pair]:
        """This process's share of the mixtures of an epoch, from ``start_batch`` on, a batch each,
        on the device that trains."""

    def validation(self) -> Iterator[Pair]:
        """The mixtures that every validation uses."""

    def statistics(self) -> Iterator[Tensor]:
        """Noisy waveforms, a batch each, for `nn.take_statistics`; the same in every process."""

    @property
    def licence(self) -> str:
        """What the recordings demand of who uses the weights; nothing where they demand nothing."""

    @property
    def damaged(self) -> Sequence[str | Path]:
        """What could not be decoded and was passed over, so far."""

    def describe(self) -> list[str]:
        """What it is made of, in a few lines."""


def find_material(
    options: TrainingOptions,
    place: RunPlace,
    processes: Processes = ALONE,
    device: torch.device = _CPU,
) -> Material:
    """Folders or tar shards, whatever the places of a run are; of every batch one process's share.

    Raises:
        UserError: they are some of both, or nothing that can be trained on.
    """
    kinds = {is_shards(str(each)) for each in (*place.speech, *place.noise)}
    if options.augmentation == RICH:
        from audio_denoising.training.bank_material import BankMaterial

        if kinds != {False}:
            raise UserError(f"{options.version} trains from folders: give those of the shards")
        return BankMaterial(options, place, processes, device)
    if place.rooms:
        raise UserError("--rooms is for v5; --augment varied makes rooms for the other versions")
    if kinds == {False}:
        return FolderMaterial(options, place, processes, device)
    if kinds == {True}:
        from audio_denoising.training.shard_material import ShardMaterial

        return ShardMaterial(options, place, processes, device)
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
        self,
        options: TrainingOptions,
        place: RunPlace,
        processes: Processes = ALONE,
        device: torch.device = _CPU,
    ) -> None:
        self.options = options
        self.place = place
        self.processes = processes
        self.device = device
        self.rooms = preset(options.augmentation).rooms(options.seed, device)
        self.splits, self.unreadable = divided(options, place)
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

    def mixtures(self, epoch: int, start_batch: int = 0) -> Iterator[Pair]:
        """This process's share of the mixtures of an epoch, from ``start_batch`` on."""
        return mixed(self.batches(epoch, start_batch), self.rooms, self.device)

    def statistics(self) -> Iterator[Tensor]:
        """None: no U-Net normalises."""
        return iter(())

    @property
    def licence(self) -> str:
        """What the noise demands."""
        return licence_of(self.splits.train.noise)

    def validation(self) -> Iterator[Pair]:
        """The mixtures that every validation uses."""
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
        lines = sizes(self.splits.train, self.splits.validation)
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


def divided(
    options: TrainingOptions,
    place: RunPlace,
    allowed: Callable[[Recording], bool] = lambda recording: True,
) -> tuple[Splits, list[Path]]:
    """The recordings in the folders of a run, divided, and the files that cannot be read.

    Args:
        allowed: which of them the run may use at all.

    Raises:
        UserError: a folder cannot be read, holds nothing, or leaves a split empty.
    """
    voices = [scan_speech(folder) for folder in place.speech]
    sounds = [scan_noise(folder) for folder in place.noise]
    found = split(
        list(filter(allowed, join(recordings_of(scan, "speech") for scan in voices))),
        list(filter(allowed, join(recordings_of(scan, "noise") for scan in sounds))),
        hold_out=options.hold_out or (),
    )
    for name, part in (("train", found.train), ("validation", found.validation)):
        for what, folders in (("speech", place.speech), ("noise", place.noise)):
            if not getattr(part, what):
                raise UserError(
                    f"{' and '.join(map(str, folders))} leaves no {what} for the {name} split: "
                    "add recordings of other speakers or noise sources"
                )
    return found, [path for scan in (*voices, *sounds) for path in scan.unreadable]


def sizes(train: Split, validation: Split) -> list[str]:
    """How much there is to train and to validate on, a line each."""
    lines = []
    for name, part in (("train", train), ("validation", validation)):
        speakers = counted(len({r.group for r in part.speech}), "speaker")
        hours = [sum(r.seconds for r in found) / 3600 for found in (part.speech, part.noise)]
        lines.append(
            f"{name:>10}: {counted(len(part.speech), 'speech file')}, {speakers}, "
            f"{hours[0]:.2f} h; {counted(len(part.noise), 'noise file')}, {hours[1]:.2f} h"
        )
    return lines


def licence_of(noise: Sequence[Recording]) -> str:
    """What UrbanSound8K, where it is among the noise, demands of who uses the weights."""
    if any("UrbanSound8K" in r.path.parts or r.split_hint for r in noise):
        return f"{NON_COMMERCIAL}: UrbanSound8K (CC BY-NC 3.0) is among the noise"
    return ""


def _shares(folders: Sequence[str | Path], recordings: Sequence[Recording], drawn: Chances) -> str:
    """How often each folder is drawn, such as ``"75 % a, 25 % b"``."""
    source = np.array([recording.source for recording in recordings])
    shares = (100 * drawn[source == number].sum() / drawn.sum() for number in range(len(folders)))
    return ", ".join(f"{share:.0f} % {f}" for share, f in zip(shares, folders, strict=True))
