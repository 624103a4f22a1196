"""What a run trains and validates on where the audio comes in tar shards, by path or address.

Shards are decoded one after the other, one of speech beside one of noise, and mixed like recordings
in folders; every process has its own part of the shards of speech.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import numpy as np
import torch

from audio_denoising.errors import UserError, counted
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.recipe import PRESETS, Recipe
from audio_denoising.mixing.shards import ShardSet, find_shards
from audio_denoising.training.material import VALIDATION_SEED, Material, Pair
from audio_denoising.training.options import Processes, RunPlace, TrainingOptions


class ShardMaterial(Material):
    """Mixtures from shards of the train split; the shards beside them validate.

    They are a function of seed, epoch and number of processes. To resume in the middle of an epoch
    its earlier shards are read and thrown away.

    Raises:
        UserError: shards cannot be read, hold another split, or lack a validation split beside
            them; or options ask for what shards cannot do.
    """

    licence = ""  # shards do not tell where their recordings come from

    def __init__(
        self, options: TrainingOptions, place: RunPlace, processes: Processes, device: torch.device
    ) -> None:
        if options.hold_out:
            raise UserError("--hold-out is for folders: give it to `denoise data shard` instead")
        for what, weights in (("speech", options.speech_weights), ("noise", options.noise_weights)):
            if any(weight is not None for weight in weights or ()):
                raise UserError(f"--{what}: weights are for folders, shards are read as they come")
        self.options, self.place, self.processes, self.device = options, place, processes, device
        speech, noise = (
            find_shards([str(each) for each in places], what)
            for what, places in (("speech", place.speech), ("noise", place.noise))
        )
        self.held_out = speech.validation(), noise.validation()
        if options.epoch_size is None and speech.pieces is None:
            raise UserError(
                "Nobody says how much speech is in the shards (there is no index beside "
                f"{speech.urls[0]}): give the length of an epoch by --epoch-size"
            )
        mine = speech.urls[processes.rank :: processes.count]
        if not mine:
            raise UserError(
                f"{len(speech.urls)} shards of speech cannot be divided among {processes.count} "
                "processes: write smaller ones with `denoise data shard --shard-size`"
            )
        self.speech, self.noise = replace(speech, urls=mine), noise
        self.mixtures_in_all = options.epoch_size or speech.pieces or 0
        self.steps = len(self) // options.batch_size

    def __len__(self) -> int:
        """Mixtures in an epoch, those of all processes."""
        return self.mixtures_in_all

    def mixtures(self, epoch: int, start_batch: int = 0) -> Iterator[Pair]:
        """This process's share of the mixtures of an epoch, from ``start_batch`` on."""
        own = self.options.seed, self.processes.rank, epoch
        share = self.processes.share(self.options.batch_size)
        recipe = PRESETS[self.options.augmentation]
        batch = 0
        for mixer in self._mixers((self.speech, self.noise), "train", own, recipe):
            for step in range(-(-len(mixer.speech.starts) // share)):
                if batch == self.steps:
                    return
                if batch >= start_batch:
                    yield mixer.batch(step, share, self._samples())
                batch += 1

    def validation(self) -> Iterator[Pair]:
        """The mixtures that every validation uses."""
        mixers = self._mixers(self.held_out, "validation", (VALIDATION_SEED,), PRESETS["original"])
        return self._fixed(next(mixers))

    @property
    def damaged(self) -> list[str]:
        """The pieces and shards that could not be read so far."""
        return [*self.speech.damaged, *self.noise.damaged]

    def describe(self) -> list[str]:
        """What it is made of, in a few lines."""
        lines = []
        for name, sets in (("train", (self.speech, self.noise)), ("validation", self.held_out)):
            sizes = []
            for each in sets:
                pieces = "" if each.pieces is None else f", {counted(each.pieces, 'piece')}"
                sizes.append(f"{counted(len(each.urls), 'shard')} of {each.what}{pieces}")
            lines.append(f"{name:>10}: {'; '.join(sizes)}")
        return lines

    def _mixers(
        self, sets: tuple[ShardSet, ShardSet], split: str, seed: tuple[int, ...], recipe: Recipe
    ) -> Iterator[Mixer]:
        """One for each shard of speech, endlessly."""
        banks = (each.banks(split, seed, self.device) for each in sets)
        for number, speech, noise in zip(count(), *banks, strict=False):
            own = int(np.random.default_rng((*seed, number)).integers(2**63))
            yield Mixer(speech, noise, recipe, own, device=self.device, in_turn=True)
