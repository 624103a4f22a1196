"""What a run trains and validates on: recordings in folders, divided, decoded once, and mixed.

A mixture is a function of the seed and the step alone, whatever the number of processes, wherever
the decoded recordings lie, and also in a run that was resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from audio_denoising.corpora.corpus import Recording, index
from audio_denoising.corpora.held_out import may_be_heard
from audio_denoising.corpora.splits import Split, Splits, split
from audio_denoising.dsp import frames
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.errors import UserError, counted
from audio_denoising.mixing.bank import fair_chances
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.kept_library import DEFAULT, KeptLibrary
from audio_denoising.mixing.library import Library
from audio_denoising.mixing.recipe import JUDGED, PRESETS
from audio_denoising.mixing.rooms import load_rooms
from audio_denoising.models.versions import NON_COMMERCIAL
from audio_denoising.training.options import ALONE, RICH, Processes, RunPlace, TrainingOptions

LONG_FROM = 0.8  # of the steps of a v5 run that ends: then half as many mixtures, twice as long
STATISTICS = 40  # batches
IN_MEMORY = 35.0  # hours (4 GB): what is longer goes to a folder
VALIDATION_SEED = 1234  # the same for every run, so that runs can be compared
VALIDATION_SIZE = 160  # mixtures: enough for a steady mean, few enough for every epoch
_FEWEST = 8  # mixtures: a mean over less says nothing
_VALIDATION_BATCH = 16
_FIRST_STATISTICS = 1 << 40  # a step that no training reaches
_CPU = torch.device("cpu")

Pair = tuple[Tensor, Tensor]
"""Noisy and clean waveforms of one batch, ``(N, L)`` each."""


class Material:
    """Mixtures of speech and noise from folders, for training and for validation, each process's
    share of every batch; ``splits`` are who trains, validates and tests.

    Raises:
        UserError: a folder cannot be read, holds nothing, or leaves a split empty; the batch
            cannot be divided; or the decoded recordings cannot be kept.
    """

    def __init__(
        self,
        options: TrainingOptions,
        place: RunPlace,
        processes: Processes = ALONE,
        device: torch.device = _CPU,
    ) -> None:
        self.options, self.place, self.processes = options, place, processes
        rich = options.augmentation == RICH
        self.blocks = round(options.clip_seconds * SAMPLE_RATE / frames.HOP)
        ends = rich and options.schedule == "linear-end"
        self.splits, unreadable = divided(options, place, may_be_heard if rich else None)
        if rich:
            # The held-out list is the test: loose noise need not be held back twice.
            spare = [each for each in self.splits.test.noise if each.split_hint is None]
            train = Split(self.splits.train.speech, [*self.splits.train.noise, *spare])
            self.splits = replace(self.splits, train=train)
        train, held_out = self.splits.train, self.splits.validation
        used = [*train.speech, *train.noise, *held_out.speech, *held_out.noise]
        self.library = decoded(used, place.cache, processes)
        self._damaged = [*unreadable, *self.library.damaged(used)]
        rooms = load_rooms(index(place.rooms, "noise")[0]) if place.rooms else None
        self.rooms = 0 if rooms is None else len(rooms)
        weights = [_chosen(each) for each in (options.speech_weights, options.noise_weights)]
        speech, noise, voices, sounds = (
            self.library.bank(recordings, each, device)
            for part in (train, held_out)
            for recordings, each in zip((part.speech, part.noise), weights, strict=True)
        )
        # A single folder without a weight is visited file by file.
        in_turn = not rich and options.speech_weights is None
        recipe = PRESETS[options.augmentation]
        self.mixer = Mixer(speech, noise, recipe, options.seed, rooms, device, in_turn)
        judged = JUDGED if rich else PRESETS["original"]  # so that runs can be compared
        self.judged = Mixer(voices, sounds, judged, VALIDATION_SEED, rooms, device, not rich)
        self.size = options.epoch_size or len(train.speech)
        self.steps = self.size // options.batch_size
        self.long_from = int(LONG_FROM * options.epochs * self.steps) if ends else None

    def mixtures(self, epoch: int, start_batch: int = 0) -> Iterator[Pair]:
        """This process's share of the mixtures of an epoch, from ``start_batch`` on, a batch each,
        on the device that trains."""
        rank, processes = self.processes.rank, self.processes.count
        for batch in range(start_batch, self.steps):
            step = (epoch - 1) * self.steps + batch
            count, length = self.options.batch_size, 1
            if self.long_from is not None and step >= self.long_from:
                count, length = count // 2, 2
            share = count // processes
            rows = slice(rank * share, (rank + 1) * share)
            yield self.mixer.batch(step, count, self._samples(length), rows)

    def validation(self) -> Iterator[Pair]:
        """The mixtures that every validation uses, whatever the size of a batch: 160, or fewer
        after an epoch of less; the first ones of the same list."""
        left, step = min(VALIDATION_SIZE, max(_FEWEST, self.size)), 0
        while left > 0:
            rows = slice(0, left)
            noisy, clean = self.judged.batch(step, _VALIDATION_BATCH, self._samples(), rows)
            yield noisy.cpu(), clean.cpu()
            left, step = left - len(noisy), step + 1

    def statistics(self) -> Iterator[Tensor]:
        """Noisy waveforms as in training, a batch each, the same every time and in every process,
        for `nn.take_statistics`."""
        for step in range(_FIRST_STATISTICS, _FIRST_STATISTICS + STATISTICS):
            yield self.mixer.batch(step, self.options.batch_size, self._samples())[0]

    @property
    def damaged(self) -> Sequence[str | Path]:
        """What could not be decoded so far."""
        return self._damaged

    @property
    def licence(self) -> str:
        """What the recordings demand of who uses the weights; nothing if they demand nothing."""
        if any("UrbanSound8K" in r.path.parts or r.split_hint for r in self.splits.train.noise):
            return f"{NON_COMMERCIAL}: UrbanSound8K (CC BY-NC 3.0) is among the noise"
        return ""

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
        train = self.splits.train
        weights = self.options.speech_weights, self.options.noise_weights
        for what, given in zip(("speech", "noise"), weights, strict=True):
            folders = getattr(self.place, what)
            if len(folders) > 1:
                recordings = getattr(train, what)
                chances = fair_chances(recordings, _chosen(given))
                drawn = np.bincount([r.source for r in recordings], 100 * chances, len(folders))
                shares = (f"{each:.0f} % {f}" for each, f in zip(drawn, folders, strict=True))
                lines.append(f"{what:>10}: {', '.join(shares)}")
        if self.rooms:
            lines.append(f"{'rooms':>10}: {self.rooms} measured ones, beside made ones")
        where = self.library.folder or "memory"
        lines.append(f"{'decoded':>10}: in {where}, {self.library.bytes / 1e6:,.1f} MB")
        return lines

    def _samples(self, length: int = 1) -> int:
        """Of a mixture, or of one ``length`` times as long."""
        if self.options.augmentation == RICH:
            return (length * self.blocks + 1) * frames.HOP
        return round(length * self.options.clip_seconds * SAMPLE_RATE)


def divided(
    options: TrainingOptions, place: RunPlace, allowed: Callable[[Recording], bool] | None
) -> tuple[Splits, list[Path]]:
    """The recordings that a run may use (all, or those allowed), divided, and unreadable files.

    Raises:
        UserError: a folder cannot be read, holds nothing, or leaves a split empty.
    """
    speech, mute = index(place.speech, "speech")
    noise, more = index(place.noise, "noise")
    speech, noise = (list(filter(allowed, recordings)) for recordings in (speech, noise))
    found = split(speech, noise, hold_out=options.hold_out or ())
    for name, part in (("train", found.train), ("validation", found.validation)):
        for what, folders in (("speech", place.speech), ("noise", place.noise)):
            if not getattr(part, what):
                raise UserError(
                    f"{' and '.join(map(str, folders))} leaves no {what} for the {name} split: "
                    "add recordings of other speakers or noise sources"
                )
    return found, [*mute, *more]


def decoded(recordings: Sequence[Recording], cache: Path | None, processes: Processes) -> Library:
    """The recordings, decoded by the first process into a folder, or by each into its memory.

    Without a cache that is the usual folder if it is there or the recordings are more than 35
    hours, and memory otherwise.

    Raises:
        UserError: the folder cannot be written, or holds something else.
    """
    long = sum(each.seconds for each in recordings) > 3600 * IN_MEMORY
    folder = cache or (DEFAULT if long or DEFAULT.exists() else None)
    library = Library() if folder is None else KeptLibrary(folder)
    if folder is None or processes.leads:
        told = Console(stderr=True)
        with Progress(console=told, transient=True, disable=not told.is_terminal) as bar:
            task = bar.add_task("Decoding", total=None)
            library.add(recordings, lambda done, t: bar.update(task, completed=done, total=t))
    if folder is not None:
        processes.sum(0.0)  # the others wait for it
    return library if folder is None or processes.leads else KeptLibrary(folder)


def _chosen(weights: Sequence[float | None] | None) -> list[float] | None:
    """The weights of folders that were given some."""
    return [weight for weight in weights or () if weight is not None] or None
