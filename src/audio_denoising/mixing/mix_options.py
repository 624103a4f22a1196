"""What `denoise data mix` is asked for, checked, and the choices that follow from it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audio_denoising.dsp.constants import FFT_SIZE, SAMPLE_RATE
from audio_denoising.errors import UserError

if TYPE_CHECKING:
    from audio_denoising.mixing.frozen_set import Choice

# Not float: libsndfile stamps such files with the time of writing.
SUBTYPES = {16: "PCM_16", 24: "PCM_24"}
PARTS = ("test", "validation", "train", "all")
_LOUDEST_DB = 100.0


@dataclass(frozen=True)
class MixOptions:
    """Settings of a frozen set; durations in seconds.

    Attributes:
        count: mixtures. levels: signal-to-noise ratios in dB, separated by commas.
        seed: decides every choice. part: a split, or "all" recordings.
        shortest, shortest_noise: what a recording must last to be drawn.
        longest: what is used of an utterance. bits: of a sample in the files, 16 or 24.

    Raises:
        UserError: one of them makes no sense.
    """

    count: int = 40
    levels: str = "0,5,10,15"
    seed: int = 7
    part: str = "test"
    shortest: float = 3.0
    shortest_noise: float = 2.0
    longest: float = 8.0
    bits: int = 16

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise UserError(f"unknown split {self.part!r}: choose one of {', '.join(PARTS)}")
        if self.bits not in SUBTYPES:
            raise UserError("--bits must be 16 or 24")
        for name in ("shortest", "shortest_noise", "longest"):
            if not FFT_SIZE / SAMPLE_RATE <= getattr(self, name) <= 3600:
                raise UserError(f"--{name.replace('_', '-')} must be between 0.032 s and an hour")
        _ = self.snrs_db

    @property
    def snrs_db(self) -> tuple[float, ...]:
        """The levels as numbers."""
        try:
            levels = tuple(float(level) for level in self.levels.split(","))
        except ValueError:
            levels = (math.nan,)
        if not all(abs(level) <= _LOUDEST_DB for level in levels):
            raise UserError(
                f"--snr {self.levels!r} is not a list of levels within ±100 dB: write it like "
                "--snr 0,5,10,15"
            )
        return levels

    @property
    def longest_samples(self) -> int:
        """``longest`` at 16 kHz."""
        return round(self.longest * SAMPLE_RATE)


def choose(
    speech: str | os.PathLike[str],
    noise: str | os.PathLike[str],
    options: MixOptions,
    hold_out: Sequence[str] = (),
) -> list[Choice]:
    """Draws the mixtures from two folders, split as training splits them.

    Raises:
        UserError: the folders hold nothing that can be drawn.
    """
    from audio_denoising.corpora.corpus import index_noise, index_speech
    from audio_denoising.corpora.splits import Split, split
    from audio_denoising.mixing.frozen_set import draw, long_enough

    spoken, noises = index_speech(speech), index_noise(noise)
    splits = split(spoken, noises, hold_out=hold_out)
    chosen = Split(spoken, noises) if options.part == "all" else getattr(splits, options.part)
    where = "" if options.part == "all" else f" in its {options.part} split"
    voices = long_enough(chosen.speech, round(options.shortest * SAMPLE_RATE))
    if not voices:
        raise UserError(
            f"{speech} has no speech of {options.shortest:g} s or more{where}: choose another "
            "--split, or lower --shortest"
        )
    sources = long_enough(chosen.noise, round(options.shortest_noise * SAMPLE_RATE), audible=True)
    if not sources:
        raise UserError(
            f"{noise} has no audible noise of {options.shortest_noise:g} s or more{where}: choose "
            "another --split, or lower --shortest-noise"
        )
    return draw(
        voices,
        sources,
        count=options.count,
        snrs_db=options.snrs_db,
        seed=options.seed,
        longest=options.longest_samples,
    )
