"""What v5 trains and validates on: folders read once, as banks, and mixed in whole batches.

The held-out list, LibriSpeech's test-other and UrbanSound8K's fold 10 are never heard, whatever the
folders hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from audio_denoising.corpora.corpus import Recording, index_noise
from audio_denoising.corpora.held_out import is_held_out
from audio_denoising.corpora.splits import TEST_FOLD, Split
from audio_denoising.dsp.compressed_spectrum import HOP
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.mixing.bank import SoundBank
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.mixtures import Pair
from audio_denoising.mixing.recipe import Recipe
from audio_denoising.mixing.rooms import load_rooms
from audio_denoising.training import validation
from audio_denoising.training.material import divided, licence_of, sizes
from audio_denoising.training.options import Processes, RunPlace, TrainingOptions

LONG_FROM = 0.8  # of the steps of a run that ends: then half as many mixtures, twice as long
STATISTICS = 40  # batches
_VALIDATION_BATCH = 16
_FIRST_STATISTICS = 1 << 40  # a step that no training reaches


class BankMaterial:
    """Mixtures of `mixing.Mixer` from folders of recordings; each a function of seed and step.

    The cache, where one is given, is a folder in which the decoded recordings lie as banks, to be
    mapped into memory by the next run on the same recordings.

    Raises:
        UserError: a folder cannot be read, holds nothing, or leaves a split empty; the batch
            cannot be divided; or the cache cannot be written.
    """

    def __init__(
        self,
        options: TrainingOptions,
        place: RunPlace,
        processes: Processes,
        device: torch.device,
    ) -> None:
        self.options = options
        self.processes = processes
        self.blocks = round(options.clip_seconds * SAMPLE_RATE / HOP)
        self.steps = len(self) // options.batch_size
        ends = options.schedule == "linear-end"
        self.long_from = int(LONG_FROM * options.epochs * self.steps) if ends else None
        if ends and options.batch_size % (2 * processes.count):
            raise UserError(
                f"--batch-size {options.batch_size} must be a multiple of {2 * processes.count}: "
                "the last clips are twice as long and half as many"
            )
        splits, self.damaged = divided(options, place, _may_be_heard)
        # What the list above holds back is the test: loose noise need not be held back twice.
        spare = [recording for recording in splits.test.noise if recording.split_hint is None]
        self.train = Split(splits.train.speech, [*splits.train.noise, *spare])
        self.held_out = splits.validation
        rooms = load_rooms(index_noise(*place.rooms)) if place.rooms else None
        self.rooms = 0 if rooms is None else len(rooms)
        weights = options.speech_weights, options.noise_weights
        banks = [
            _bank(recordings, place.cache, each, processes)
            for recordings, each in (
                *zip((self.train.speech, self.train.noise), weights, strict=True),
                *zip((self.held_out.speech, self.held_out.noise), weights, strict=True),
            )
        ]
        speech, noise, voices, sounds = (bank.to(device) for bank in banks)
        recipe = Recipe()
        self.mixer = Mixer(speech, noise, recipe, options.seed, rooms)
        # Of mixtures without noise, or without speech, there is no ratio to improve.
        judged = replace(recipe, clean_only=0.0, noise_only=0.0)
        self.judged = Mixer(voices, sounds, judged, validation.SEED, rooms)

    def __len__(self) -> int:
        """Mixtures in an epoch."""
        assert self.options.epoch_size is not None
        return self.options.epoch_size

    def mixtures(self, epoch: int, start_batch: int = 0) -> Iterator[Pair]:
        """This process's share of the mixtures of an epoch, from ``start_batch`` on."""
        rank, processes = self.processes.rank, self.processes.count
        for batch in range(start_batch, self.steps):
            step = (epoch - 1) * self.steps + batch
            count, blocks = self.options.batch_size, self.blocks
            if self.long_from is not None and step >= self.long_from:
                count, blocks = count // 2, 2 * blocks
            share = count // processes
            rows = slice(rank * share, (rank + 1) * share)
            yield self.mixer.batch(step, count, (blocks + 1) * HOP, rows)

    def validation(self) -> Iterator[Pair]:
        """The mixtures that every validation uses, whatever the size of a batch."""
        left, step = validation.mixtures_for(len(self)), 0
        while left > 0:
            count = min(_VALIDATION_BATCH, left)
            noisy, clean = self.judged.batch(step, count, (self.blocks + 1) * HOP)
            yield noisy.cpu(), clean.cpu()
            left, step = left - count, step + 1

    def statistics(self) -> Iterator[Tensor]:
        """Mixtures as in training, the same ones every time."""
        for step in range(_FIRST_STATISTICS, _FIRST_STATISTICS + STATISTICS):
            yield self.mixer.batch(step, self.options.batch_size, (self.blocks + 1) * HOP)[0]

    @property
    def licence(self) -> str:
        """What the noise demands."""
        return licence_of(self.train.noise)

    def describe(self) -> list[str]:
        """What it is made of, in a few lines."""
        lines = sizes(self.train, self.held_out)
        if self.rooms:
            lines.append(f"{'rooms':>10}: {self.rooms} measured ones, beside made ones")
        return lines


def _may_be_heard(recording: Recording) -> bool:
    path, hint = recording.path, recording.split_hint
    return not is_held_out(path) and "test-other" not in path.parts and hint != f"fold{TEST_FOLD}"


def _bank(
    recordings: Sequence[Recording],
    cache: Path | None,
    weights: Sequence[float | None] | None,
    processes: Processes,
) -> SoundBank:
    """The recordings as a bank, from the cache if they lie there."""
    chosen = [weight for weight in weights or () if weight is not None] or None
    if cache is None:
        return SoundBank.load(recordings, weights=chosen)
    if cache.is_file():
        raise UserError(f"{cache} is a file: v5 keeps what it decodes in a folder, --cache DIR")
    place = cache / f"bank-{_digest(recordings, chosen)}"
    if processes.leads and not place.exists():
        bank = SoundBank.load(recordings, weights=chosen)
        try:
            bank.save(place)
        except OSError as error:
            raise UserError(
                f"cannot write {place} ({error.strerror or error}): free some space, or leave "
                "--cache out"
            ) from error
    processes.sum(0.0)  # the others wait for the file
    return SoundBank.open(place)


def _digest(recordings: Sequence[Recording], weights: Sequence[float] | None) -> str:
    """Another name for other recordings, or for others under the same names."""
    lines = [repr(weights)]
    for each in recordings:
        state = each.path.stat()
        lines.append(f"{each.path} {state.st_size} {state.st_mtime_ns} {each.group} {each.source}")
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]
