"""What a run trains and validates on where the audio comes in tar shards, by path or address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from audio_denoising.errors import UserError, counted
from audio_denoising.mixing.augment import preset
from audio_denoising.mixing.mixing import Stretches
from audio_denoising.mixing.mixtures import Pair, mixed
from audio_denoising.mixing.shard_reading import ShardMixtures
from audio_denoising.mixing.shards import ShardSet, find_shards, require_apart, sibling
from audio_denoising.training import validation
from audio_denoising.training.options import ALONE, Processes, RunPlace, TrainingOptions


class ShardMaterial:
    """Batches from shards of the train split; the shards beside them validate.

    Which batches come depends on the number of workers and of processes, other than with folders:
    see `data.shard_reading`. The validation batches do not.

    Raises:
        UserError: shards cannot be read, hold another split, or lack a validation split beside
            them; or options ask for what shards cannot do.
    """

    def __init__(
        self,
        options: TrainingOptions,
        place: RunPlace,
        processes: Processes = ALONE,
        device: torch.device | str = "cpu",
    ) -> None:
        if options.hold_out:
            raise UserError("--hold-out is for folders: give it to `denoise data shard` instead")
        for what, weights in (("speech", options.speech_weights), ("noise", options.noise_weights)):
            if any(weight is not None for weight in weights or ()):
                raise UserError(f"--{what}: weights are for folders, shards are read as they come")
        self.options = options
        self.place = place
        self.processes = processes
        self.device = torch.device(device)
        self.rooms = preset(options.augmentation).rooms(options.seed, self.device)
        speech, noise = _find(place.speech, "speech"), _find(place.noise, "noise")
        held_out = sibling(speech, "validation"), sibling(noise, "validation")
        require_apart(speech, held_out[0])
        require_apart(noise, held_out[1])
        self.training = ShardMixtures(
            speech,
            noise,
            seed=options.seed,
            augmentation=preset(options.augmentation),
            epoch_size=options.epoch_size and options.epoch_size // processes.count,
            rank=processes.rank,
            ranks=processes.count,
        )
        self.held_out = ShardMixtures(
            *held_out,
            seed=validation.SEED,
            epoch_size=validation.mixtures_for(len(self)),
            split="validation",
        )

    def __len__(self) -> int:
        """Mixtures in an epoch, those of all processes."""
        return len(self.training) * self.processes.count

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[Stretches]:
        """This process's share of the batches of an epoch, from ``start_batch`` on."""
        return self.training.batches(
            epoch=epoch,
            batch_size=self.processes.share(self.options.batch_size),
            workers=self.place.workers,
            start_batch=start_batch,
        )

    def mixtures(self, epoch: int, start_batch: int = 0) -> Iterator[Pair]:
        """This process's share of the mixtures of an epoch, from ``start_batch`` on."""
        return mixed(self.batches(epoch, start_batch), self.rooms, self.device)

    def statistics(self) -> Iterator[Tensor]:
        """None: no U-Net normalises."""
        return iter(())

    @property
    def licence(self) -> str:
        """Unknown: shards do not tell where their recordings come from."""
        return ""

    def validation(self) -> Iterator[Pair]:
        """The mixtures that every validation uses, the same for any number of workers."""
        return mixed(
            self.held_out.batches(
                epoch=0, batch_size=self.options.batch_size, workers=0, drop_last=False
            )
        )

    @property
    def damaged(self) -> Sequence[str]:
        """The pieces and shards that could not be read and were passed over, so far."""
        return self.training.damaged

    def describe(self) -> list[str]:
        """What it is made of, in a few lines."""
        return [
            f"{name:>10}: {_size(material.speech)}; {_size(material.noise)}"
            for name, material in (("train", self.training), ("validation", self.held_out))
        ]


def _find(places: Sequence[str | Path], what: str) -> ShardSet:
    return find_shards([str(place) for place in places], what)


def _size(shards: ShardSet) -> str:
    """Such as ``"12 shards of speech, 3,456 pieces"``."""
    pieces = "" if shards.pieces is None else f", {counted(shards.pieces, 'piece')}"
    return f"{counted(len(shards.urls), 'shard')} of {shards.what}{pieces}"
