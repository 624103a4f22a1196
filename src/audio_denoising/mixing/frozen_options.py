"""What `denoise data mix` is asked for, checked before anything that reads sound is loaded."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from audio_denoising.dsp.constants import FFT_SIZE, SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.paths import require_free as require_free_file

# Not float: libsndfile stamps such files with the time of writing.
SUBTYPES = {16: "PCM_16", 24: "PCM_24"}
_CONTENTS = frozenset({"clean", "noisy", "manifest.csv"})
PARTS = ("test", "validation", "train", "all")
_LOUDEST_DB = 100.0


@dataclass(frozen=True)
class MixOptions:
    """Settings of a frozen set; durations in seconds. UserError where one makes no sense."""

    count: int = 40  # mixtures
    levels: str = "0,5,10,15"  # signal-to-noise ratios in dB
    seed: int = 7  # decides every choice
    part: str = "test"  # a split, or "all" recordings
    shortest: float = 3.0  # what a recording of speech must last to be drawn
    shortest_noise: float = 2.0  # likewise
    longest: float = 8.0  # what is used of an utterance
    bits: int = 16  # of a sample in the files, or 24

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


def require_free(folder: Path, *, force: bool, ours: Set[str] = _CONTENTS) -> None:
    """Refuses a folder that would be lost.

    Raises:
        UserError: it is a file, cannot be written, or is not empty; with ``force``, something else
            than ``ours``, the names in a frozen set, is in it.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give --out the name of a folder")
    require_free_file(folder / "manifest.csv", force=True)
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not found:
        return
    if found != ours:
        raise UserError(
            f"{folder} holds something else than a set that this command wrote (see "
            f"{min(found ^ ours)}) and is never replaced: choose another --out"
        )
    if not force:
        raise UserError(f"{folder} holds a set: choose another --out, or replace it by --force")
