"""The frozen lists that this project is judged on: every mixture by the names of what is in it.

The first, `test_list.csv`, has three parts. Speakers are the ten of LibriSpeech test-other, noise
recordings those of UrbanSound8K's fold 10; neither is ever trained or tuned on.

* held-out: 160 mixtures; each of the ten noise classes and each speaker four times at each of 0,
  5, 10 and 15 dB.
* unseen noise: 40 mixtures with noise of kinds that are in no training corpus (`synthesis`).
* clean speech: 20 utterances without noise, to hear what a denoiser takes from them.

The second, `second_list.csv`, is of another domain: 20 speakers of German (acting), Mandarin and
non-native English, and 38 noise recordings of seven kinds, all of them in `data/held_out.csv`. v2,
v3, v4 and torch were trained before that was: they have met the speakers of speechocean762 and the
noise of `ambient`.

* other domain: 80 mixtures, every speaker once at each of the four levels.
* in a room: 20 mixtures with reverberant speech (T60 0.3 to 0.8 s), which is to stay reverberant.
* quiet: 20 mixtures at -40 to -55 dB re full scale.

The lists name utterances and clips as the corpora name them, so anyone who has those makes the same
samples again. They were drawn once, by a program that is in the history of this repository:
`git log -- benchmarks/draw_test_list.py`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from audio_denoising.corpora.corpus import Recording, index_noise, read_segment
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.evaluation.synthesis import in_room, write_clips
from audio_denoising.evaluation.testset import Item, Loaded
from audio_denoising.mixing.frozen_set import detailed_mix, looped, power

HELD_OUT, UNSEEN, CLEAN = "held-out", "unseen noise", "clean speech"
OTHER, ROOM, QUIET = "other domain", "in a room", "quiet"


@dataclass(frozen=True)
class Row:
    """One line of a frozen list.

    ``utterance`` and ``noise`` are file names without their ending, in the second list with the
    folders above; ``samples`` (16 kHz) from ``start`` on are used; the noise starts ``offset``
    samples into its clip and goes round where that ends. Clean speech has no noise and no level.
    ``sha256`` is the first half of the digest of the noisy float32 samples. ``room`` is a
    reverberation time in seconds, ``level_db`` the level of the mixture re full scale.
    """

    part: str
    number: int
    speaker: str
    utterance: str
    samples: int
    noise_class: str
    noise: str
    offset: int
    snr_db: float | None
    sha256: str
    start: int = 0
    room: float | None = None
    level_db: float | None = None


@dataclass(frozen=True)
class Mixture:
    """A line of a list with the recordings that it names; clean speech has no noise."""

    row: Row
    speech: Recording
    noise: Recording | None

    def load(self) -> Loaded:
        """Mixes it, at 16 kHz. Clean speech is its own noisy form."""
        row = self.row
        clean = read_segment(self.speech, row.start, row.samples)
        if self.noise is None or row.snr_db is None:
            return clean, clean, SAMPLE_RATE
        if row.room is not None:
            clean = in_room(clean, row.room, seed=row.start)
        mixed = detailed_mix(clean, looped(self.noise, row.offset, clean.size), row.snr_db)
        gain = np.float32(1)
        if row.level_db is not None:
            gain = np.float32(10 ** (row.level_db / 20) / power(mixed.noisy) ** 0.5)
        return mixed.clean * gain, mixed.noisy * gain, SAMPLE_RATE


@dataclass(frozen=True)
class FrozenList:
    """A list's file, and the part of the corpora that it is made of."""

    file: str
    speech: str
    noise: str

    def rows(self) -> list[Row]:
        """Its lines."""
        text = files(__package__).joinpath(self.file).read_text(encoding="utf-8")
        return [
            Row(**{name: _KINDS.get(name, str)(cell) for name, cell in line.items()})
            for line in csv.DictReader(text.splitlines())
        ]


def _number(text: str) -> float | None:
    return float(text) if text else None


_KINDS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("number", "samples", "offset", "start"), int),
    **dict.fromkeys(("snr_db", "room", "level_db"), _number),
}  # of cells; the others are texts
FIRST = FrozenList("test_list.csv", "test-other", "fold10")
SECOND = FrozenList("second_list.csv", "the speakers of held_out.csv", "the noise of held_out.csv")


def halves(rows: Iterable[Row]) -> list[dict[str, list[str]]]:
    """The speakers of the list in two halves, with their utterances: who makes which babble."""
    spoken: dict[str, set[str]] = {}
    for row in rows:
        spoken.setdefault(row.speaker, set()).add(row.utterance)
    order = sorted(spoken)
    middle = len(order) // 2
    return [{s: sorted(spoken[s]) for s in half} for half in (order[:middle], order[middle:])]


def items_of_all_lists(
    speech: Sequence[Recording], noise: Sequence[Recording], workshop: Path
) -> tuple[list[Item], list[str]]:
    """The lists whose recordings are all there, as items, and a sentence on each of the others.

    Raises:
        UserError: no list is complete.
    """
    items, lacking = [], []
    for each in (FIRST, SECOND):
        try:
            items += frozen_items(each.rows(), speech, noise, workshop, each)
        except UserError as error:
            lacking.append(f"{error}")
    if not items:
        raise UserError(lacking[0])
    return items, lacking


def frozen_items(
    rows: Sequence[Row],
    speech: Sequence[Recording],
    noise: Sequence[Recording],
    workshop: Path,
    of: FrozenList = FIRST,
) -> list[Item]:
    """Lines of a list as items to load, found in the corpora by name.

    ``workshop`` is an existing folder that receives the generated noise; the items read it.

    Raises:
        UserError: the recordings lack a file of the list.
    """
    spoken = _by_name(speech, {row.utterance for row in rows})
    recorded = {row.noise for row in rows if row.part not in (UNSEEN, CLEAN)}
    sounds = _by_name(noise, recorded)
    _require({row.utterance for row in rows} - spoken.keys(), "utterances", "speech", of.speech)
    _require(recorded - sounds.keys(), "noise clips", "noise", of.noise)
    if any(row.part == UNSEEN for row in rows):
        longest = max(row.samples for row in rows)
        voices = [
            {who: [read_segment(spoken[name], 0, longest) for name in names]
             for who, names in half.items()}
            for half in halves(rows)
        ]  # fmt: skip
        write_clips(workshop, voices)
        sounds |= {recording.path.stem: recording for recording in index_noise(workshop)}
    return [
        Item(
            row.part,
            f"{row.part} {row.number}",
            row.noise_class,
            row.snr_db,
            Mixture(row, spoken[row.utterance], sounds.get(row.noise)),
            row.sha256,
        )
        for row in rows
    ]


def _by_name(recordings: Sequence[Recording], wanted: set[str]) -> dict[str, Recording]:
    """The recordings whose paths end with the names wanted, by those names."""
    found = {}
    depths = {name.count("/") + 1 for name in wanted}
    for recording in recordings:
        parts = recording.path.with_suffix("").parts
        for depth in depths:
            name = "/".join(parts[-depth:])
            if name in wanted:
                found[name] = recording
    return found


def _require(missing: set[str], what: str, option: str, subset: str) -> None:
    if missing:
        raise UserError(
            f"{len(missing)} {what} of the test list were not found, {min(missing)} among them; "
            f"point --{option} at a corpus with {subset} in it, or give your own --testset."
        )
