"""Draws the speech and the noise of one training item, from files as from streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
import torch

from audio_denoising.dsp.spectrum import SEGMENT
from audio_denoising.errors import UserError
from audio_denoising.mixing.augment import (
    Augmentation,
    Recipe,
    change_speed,
    join_noises,
    read_length,
)
from audio_denoising.mixing.mixing import SILENCE, DamagedRecording, Stretches, Waveform, power

_STARTS = 4  # places tried in one recording before it counts as silent
_RECORDINGS = 64  # recordings tried before giving up


class Sound(Protocol):
    """Something with sound in it that can be read in parts."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def samples(self) -> int:
        """Length at 16 kHz."""

    def read(self, start: int, length: int) -> Waveform:
        """float32 ``(min(length, samples - start),)`` at 16 kHz; raises DamagedRecording."""


AnySound = TypeVar("AnySound", bound=Sound)
Stretch = Callable[[Sound, np.random.Generator, int], Waveform]


def draw_item(
    speech: Iterator[AnySound],
    noise: Iterator[AnySound],
    recipe: Recipe,
    augmentation: Augmentation,
    rng: np.random.Generator,
    damaged: Callable[[AnySound], None],
) -> Stretches:
    """One item of 40 800 samples.

    Args:
        speech, noise: candidates; as many are taken as it needs to find one with sound in it.
        recipe: all choices but the ratio, which is drawn here, last.
        rng: the item's own random numbers.
        damaged: told which candidates could not be decoded.

    Raises:
        UserError: none of 64 candidates can be decoded, or there is none.
    """
    voice = _draw(speech, rng, speech_stretch, recipe.speed, damaged)
    if recipe.noise_seed:  # the noise is made on the device that trains
        sound = np.zeros(SEGMENT, np.float32)
    else:
        sound = _draw(noise, rng, noise_stretch, recipe.noise_speed, damaged)
        if recipe.second_noise:
            other = _draw(noise, rng, noise_stretch, recipe.noise_speed, damaged)
            sound = join_noises(sound, other, recipe.second_noise_db)
    recipe = replace(recipe, snr_db=rng.uniform(*augmentation.snr_db))
    return Stretches(torch.from_numpy(voice), torch.from_numpy(sound), recipe.as_tensor())


def speech_stretch(sound: Sound, rng: np.random.Generator, length: int) -> Waveform:
    """A random stretch; shorter speech stands at a random place among zeros."""
    spare = sound.samples - length
    if spare >= 0:
        return sound.read(int(rng.integers(spare + 1)), length)
    before = int(rng.integers(-spare + 1))
    return np.pad(sound.read(0, length), (before, -spare - before))


def noise_stretch(sound: Sound, rng: np.random.Generator, length: int) -> Waveform:
    """A random stretch; shorter noise is repeated from a random place."""
    spare = sound.samples - length
    if spare >= 0:
        return sound.read(int(rng.integers(spare + 1)), length)
    whole = sound.read(0, length)
    return np.resize(np.roll(whole, -int(rng.integers(max(len(whole), 1)))), length)


def _draw(
    candidates: Iterator[AnySound],
    rng: np.random.Generator,
    stretch: Stretch,
    speed: float,
    damaged: Callable[[AnySound], None],
) -> Waveform:
    """2.55 s of sound, played ``speed`` times as fast."""
    if speed == 1:
        return _first_sounding(candidates, rng, stretch, SEGMENT, damaged)
    length = read_length(SEGMENT, speed)
    return change_speed(_first_sounding(candidates, rng, stretch, length, damaged), speed, SEGMENT)


def _first_sounding(
    candidates: Iterator[AnySound],
    rng: np.random.Generator,
    stretch: Stretch,
    length: int,
    damaged: Callable[[AnySound], None],
) -> Waveform:
    """The first stretch with sound in it; a silent one if the candidates hold nothing else."""
    silent = None
    failures: list[str] = []
    for sound in islice(candidates, _RECORDINGS):
        try:
            for _ in range(_STARTS):
                found = stretch(sound, rng, length)
                if power(found) >= SILENCE:
                    return found
                silent = found
        except DamagedRecording:
            damaged(sound)
            failures.append(sound.name)
    if silent is None:
        raise UserError(
            f"None of {len(set(failures))} recordings could be decoded, {failures[0]} among "
            "them; check the files or copy them again."
        )
    return silent
