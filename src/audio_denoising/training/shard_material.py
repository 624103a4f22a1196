"""What a run trains and validates on where the audio comes in tar shards, by path or address.

Pools of pieces are read into memory one after the other, speech beside noise, and mixed like
recordings in folders; every process has its own part of the shards of speech.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from audio_denoising.errors import UserError, counted
from audio_denoising.mixing.bank import Array, SoundBank
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.recipe import PRESETS, Recipe
from audio_denoising.mixing.shards import INSTALL, Piece, ShardSet, find_shards
from audio_denoising.training.material import VALIDATION_SEED, Material, Pair
from audio_denoising.training.options import Processes, RunPlace, TrainingOptions

POOL = 256  # pieces in memory: at most 500 MB


class ShardMaterial(Material):
    """Mixtures from shards of the train split; the shards beside them validate.

    They are a function of seed, epoch and number of processes. To resume in the middle of an epoch
    its earlier pools are read and thrown away.

    Raises:
        UserError: shards cannot be read, hold another split, or lack a validation split beside
            them; or options ask for what shards cannot do.
    """

    def __init__(
        self, options: TrainingOptions, place: RunPlace, processes: Processes, device: torch.device
    ) -> None:
        try:
            import webdataset  # noqa: F401
        except ImportError as error:
            raise UserError(f"Reading shards needs the webdataset library: {INSTALL}") from error
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
        for mixer in self._mixers(self.speech, self.noise, "train", own, recipe):
            for step in range(-(-len(mixer.speech.starts) // share)):
                if batch == self.steps:
                    return
                if batch >= start_batch:
                    yield mixer.batch(step, share, self._samples())
                batch += 1

    def validation(self) -> Iterator[Pair]:
        """The mixtures that every validation uses."""
        seed = (VALIDATION_SEED,)
        mixer = next(self._mixers(*self.held_out, "validation", seed, PRESETS["original"]))
        return self._fixed(mixer)

    @property
    def damaged(self) -> list[str]:
        """The pieces and shards that could not be read so far."""
        return [name for shards in (self.speech, self.noise) for name in shards.damaged]

    @property
    def licence(self) -> str:
        """Unknown: shards do not tell where their recordings come from."""
        return ""

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
        self, speech: ShardSet, noise: ShardSet, split: str, seed: Sequence[int], recipe: Recipe
    ) -> Iterator[Mixer]:
        """One for each pool, endlessly."""
        pools = (each.pools(split, POOL, seed) for each in (speech, noise))
        for number, (spoken, sounds) in enumerate(zip(*pools, strict=True)):
            own = int(np.random.default_rng((*seed, number)).integers(2**63))
            voices = _bank(spoken, np.full(len(spoken), 1 / len(spoken)), self.device)
            seconds = np.array([piece.seconds for piece in sounds])
            sounding = _bank(sounds, seconds / seconds.sum(), self.device)
            yield Mixer(voices, sounding, recipe, own, in_turn=True)


def _bank(pieces: Sequence[Piece], chances: Array, device: torch.device) -> SoundBank:
    """The pieces at the peak of a bank, each with the gain that undoes it."""
    peaks = [max(float(np.abs(piece.sound).max()), 1e-6) for piece in pieces]
    sounds = [piece.sound / peak for piece, peak in zip(pieces, peaks, strict=True)]
    bank = SoundBank.of(sounds, peaks)
    return replace(bank, samples=bank.samples.to(device), chances=chances)
