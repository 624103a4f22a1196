"""Draws the frozen test list. Run once; kept to show where the list comes from.

python -m benchmarks.draw_test_list --speech DIR --noise DIR > test_list.csv

The choices are made as `denoise data mix` makes them (`data.frozen_set.draw`), one mixture at a
time, so that speakers, noise classes and levels can be dealt out evenly: at each level every
speaker and every class come up equally often. On other recordings of these layouts it draws a
list of the same shape.
"""

import argparse
import csv
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from audio_denoising.data.corpus import Recording, index_noise, index_speech
from audio_denoising.data.frozen_set import SHORTEST_NOISE, draw, long_enough
from audio_denoising.data.splits import split
from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.evaluation.testset import (
    CLEAN,
    COLUMNS,
    HELD_OUT,
    NO_NOISE,
    UNSEEN,
    URBANSOUND_CLASSES,
    Row,
    digest,
    frozen_items,
    noise_class,
)
from audio_denoising.evaluation.unseen_noise import KINDS, SECONDS

SEED = 2026
SNRS_DB = (0.0, 5.0, 10.0, 15.0)
SPEAKERS = 10
ROUNDS = 4  # of all speakers, at each level
# DNSMOS hears 9.01 s and repeats what is shorter: these lengths are heard exactly twice.
SHORTEST, LONGEST = int(4.6 * SAMPLE_RATE), 5 * SAMPLE_RATE

Groups = Mapping[str, Sequence[Recording]]


class Deal:
    """Utterances by speaker and noise recordings by class, each handed out in a shuffled round."""

    def __init__(self, voices: Groups, sources: Groups, rng: np.random.Generator) -> None:
        self.voices = {who: _shuffled(found, rng) for who, found in sorted(voices.items())}
        self.sources: dict[str, deque[str]] = {}
        for name in URBANSOUND_CLASSES:
            groups = [g for g in sorted(sources) if noise_class(sources[g][0].path.name) == name]
            self.sources[name] = _shuffled(groups, rng)
        self.clips = sources
        self.count = 0

    def utterance(self, speaker: str) -> Recording:
        """The speaker's next one."""
        self.voices[speaker].rotate(-1)
        return self.voices[speaker][-1]

    def held_out(self, speaker: str, name: str, snr_db: float) -> Row:
        """The speaker's next utterance over the class's next source recording."""
        said = self.utterance(speaker)
        self.sources[name].rotate(-1)
        source = self.sources[name][-1]
        self.count += 1
        (choice,) = draw(
            {speaker: [said]},
            {source: self.clips[source]},
            count=1,
            snrs_db=(snr_db,),
            seed=SEED + self.count,
            longest=LONGEST,
        )
        place = (choice.noise.path.stem, choice.offset, snr_db)
        return _row(HELD_OUT, said, name, *place)


def draw_list(speech: Sequence[Recording], noise: Sequence[Recording]) -> list[Row]:
    """Draws the list from recordings of the test split.

    Raises:
        UserError: too few speakers, or a class without noise.
    """
    voices = long_enough(speech, SHORTEST)
    sources = long_enough(noise, SHORTEST_NOISE, audible=True)
    if len(voices) < SPEAKERS:
        raise UserError(f"the list needs {SPEAKERS} held-out speakers; {len(voices)} were found")
    rng = np.random.default_rng(SEED)
    order = [str(name) for name in rng.permutation(sorted(voices))][:SPEAKERS]
    deal = Deal({who: voices[who] for who in order}, sources, rng)
    lacking = [name for name, found in deal.sources.items() if not found]
    if lacking:
        raise UserError(f"the list needs noise of every class; there is no {lacking[0]}")
    rows = []
    for level, snr_db in enumerate(SNRS_DB):
        for number in range(ROUNDS):
            for place, speaker in enumerate(order):
                shift = place + ROUNDS * level + number
                name = URBANSOUND_CLASSES[shift % len(URBANSOUND_CLASSES)]
                rows.append(deal.held_out(speaker, name, snr_db))
    rows += _unseen(deal, sorted(order), rng)
    rows += [_row(CLEAN, deal.utterance(speaker), NO_NOISE, "", 0, None) for speaker in 2 * order]
    count: Counter[str] = Counter()
    for position, row in enumerate(rows):
        count[row.part] += 1
        rows[position] = replace(row, number=count[row.part])
    return rows


def _unseen(deal: Deal, speakers: Sequence[str], rng: np.random.Generator) -> list[Row]:
    """Every kind of generated noise twice at each level, every speaker once at each."""
    rows = []
    middle = len(speakers) // 2
    # Variant 1 holds the voices of the first half, so the second half speaks over it.
    partners = (speakers[middle:], speakers[:middle])
    for level, snr_db in enumerate(SNRS_DB):
        for kind, name in enumerate(KINDS):
            for variant, half in enumerate(partners, 1):
                said = deal.utterance(half[(kind + level) % len(half)])
                offset = int(rng.integers(SECONDS * SAMPLE_RATE))
                rows.append(_row(UNSEEN, said, name, f"{name}-{variant}", offset, snr_db))
    return rows


def _row(
    part: str, said: Recording, name: str, noise: str, offset: int, snr_db: float | None
) -> Row:
    samples = min(said.samples, LONGEST)
    return Row(part, 0, said.group, said.path.stem, samples, name, noise, offset, snr_db, "")


def _shuffled(names: Sequence[Any], rng: np.random.Generator) -> deque[Any]:
    return deque(names[i] for i in rng.permutation(len(names)))


def with_digests(
    rows: Sequence[Row], speech: Sequence[Recording], noise: Sequence[Recording]
) -> list[Row]:
    """The rows with the digests of the samples that they make."""
    with tempfile.TemporaryDirectory() as folder:
        items = frozen_items(rows, speech, noise, Path(folder))
        return [
            replace(row, sha256=digest(item.load()[1]))
            for row, item in zip(rows, items, strict=True)
        ]


def write(rows: Iterable[Row], file: TextIO) -> None:
    """Writes the list as CSV."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        level = "" if row.snr_db is None else f"{row.snr_db:g}"
        writer.writerow((*astuple(row)[:-2], level, row.sha256))


def main() -> None:
    """Draws the list and prints it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", required=True, help="tree with LibriSpeech's test-other in it")
    parser.add_argument("--noise", required=True, help="tree with UrbanSound8K's fold10 in it")
    given = parser.parse_args()
    try:
        speech, noise = index_speech(given.speech), index_noise(given.noise)
        test = split(speech, noise).test
        # A fold-10 source can lend its clips in other folds to the test split; here only fold 10.
        fold10 = [recording for recording in test.noise if recording.split_hint == "fold10"]
        rows = with_digests(draw_list(test.speech, fold10), speech, noise)
    except UserError as error:
        sys.exit(f"{error}")
    write(rows, sys.stdout)


if __name__ == "__main__":
    main()
