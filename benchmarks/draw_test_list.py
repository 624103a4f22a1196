"""Draws the frozen test lists. Run once for each; kept to show where they come from.

python -m benchmarks.draw_test_list --speech DIR --noise DIR > test_list.csv
python -m benchmarks.draw_test_list --speech DIR --noise DIR --second > second_list.csv

The choices are made as `denoise data mix` makes them (`mixing.frozen_set.draw`), one mixture at a
time, so that speakers, noise classes and levels can be dealt out evenly: at each level every
speaker and every class come up equally often. On other recordings of these layouts it draws lists
of the same shape.
"""

import argparse
import csv
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from audio_denoising.corpora.corpus import Recording, index_noise, index_speech
from audio_denoising.corpora.held_out import held_out
from audio_denoising.corpora.splits import split
from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.evaluation.frozen_lists import (
    CLEAN,
    FIRST,
    HELD_OUT,
    NO_NOISE,
    OTHER,
    QUIET,
    ROOM,
    SECOND,
    UNSEEN,
    FrozenList,
    Row,
    frozen_items,
)
from audio_denoising.evaluation.synthesis import KINDS, SECONDS
from audio_denoising.evaluation.testset import URBANSOUND_CLASSES, digest, noise_class
from audio_denoising.mixing.frozen_set import SHORTEST_NOISE, draw, long_enough

SEED = 2026
SNRS_DB = (0.0, 5.0, 10.0, 15.0)
SPEAKERS = 10
ROUNDS = 4  # of all speakers, at each level
# DNSMOS hears 9.01 s and repeats what is shorter: these lengths are heard exactly twice.
SHORTEST, LONGEST = int(4.6 * SAMPLE_RATE), 5 * SAMPLE_RATE

ROOMS = (0.3, 0.45, 0.6, 0.8)  # T60 in seconds
LEVELS_DB = (-40.0, -45.0, -50.0, -55.0)  # of the quiet mixtures, re full scale

Groups = Mapping[str, Sequence[Recording]]


class Stretch(NamedTuple):
    """What a speaker says in a recording from sample ``start`` (16 kHz) on, under this name."""

    speaker: str
    name: str
    recording: Recording
    start: int = 0

    @property
    def samples(self) -> int:
        """Its length, which ends with the recording or is the longest that is used."""
        return min(self.recording.samples - self.start, LONGEST)


class Clip(NamedTuple):
    """Noise recordings of one source, with the names that the list has for them."""

    source: str
    names: Mapping[Path, str]
    recordings: Sequence[Recording]


class Deal:
    """Utterances by speaker and noise sources by class, each handed out in a shuffled round."""

    def __init__(
        self,
        voices: Mapping[str, Sequence[Stretch]],
        sources: Mapping[str, Sequence[Clip]],
        rng: np.random.Generator,
    ) -> None:
        self.voices = {who: _shuffled(found, rng) for who, found in sorted(voices.items())}
        self.sources = {name: _shuffled(clips, rng) for name, clips in sources.items()}
        self.count = 0

    def utterance(self, speaker: str) -> Stretch:
        """The speaker's next one."""
        self.voices[speaker].rotate(-1)
        return self.voices[speaker][-1]

    def mixture(self, part: str, speaker: str, name: str, snr_db: float) -> Row:
        """The speaker's next utterance over the class's next source recording."""
        said = self.utterance(speaker)
        self.sources[name].rotate(-1)
        clip = self.sources[name][-1]
        self.count += 1
        (choice,) = draw(
            {speaker: [said.recording]},
            {clip.source: clip.recordings},
            count=1,
            snrs_db=(snr_db,),
            seed=SEED + self.count,
            longest=LONGEST,
        )
        return _row(part, said, name, clip.names[choice.noise.path], choice.offset, snr_db)


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
    said = {who: [Stretch(who, each.path.stem, each) for each in voices[who]] for who in order}
    clips: dict[str, list[Clip]] = {name: [] for name in URBANSOUND_CLASSES}
    for source in sorted(sources):
        names = {each.path: each.path.stem for each in sources[source]}
        clips[noise_class(sources[source][0].path.name)].append(
            Clip(source, names, sources[source])
        )
    lacking = [name for name, found in clips.items() if not found]
    if lacking:
        raise UserError(f"the list needs noise of every class; there is no {lacking[0]}")
    deal = Deal(said, clips, rng)
    rows = []
    for level, snr_db in enumerate(SNRS_DB):
        for number in range(ROUNDS):
            for place, speaker in enumerate(order):
                shift = place + ROUNDS * level + number
                name = URBANSOUND_CLASSES[shift % len(URBANSOUND_CLASSES)]
                rows.append(deal.mixture(HELD_OUT, speaker, name, snr_db))
    rows += _unseen(deal, sorted(order), rng)
    rows += [_row(CLEAN, deal.utterance(speaker), NO_NOISE, "", 0, None) for speaker in 2 * order]
    return _numbered(rows)


def draw_second_list(speech: Sequence[Recording], noise: Sequence[Recording]) -> list[Row]:
    """Draws the second list from recordings of `data.held_out`, among others.

    Raises:
        UserError: something of `held_out.csv` is not there.
    """
    said: dict[str, list[Stretch]] = {}
    clips: dict[str, list[Clip]] = {}
    for line, kind in held_out().items():
        name = line.split("/", 1)[1]
        if line.startswith("speech/"):
            said[name] = _stretches(name, speech)
            found = bool(said[name])
        else:
            there = [each for each in noise if _ends(each.path, name)]
            clips.setdefault(kind, []).append(Clip(name, {e.path: name for e in there}, there))
            found = bool(there)
        if not found:
            raise UserError(f"the second list needs all of held_out.csv; there is no {line}")
    rng = np.random.default_rng(SEED)
    order = [str(name) for name in rng.permutation(sorted(said))]
    kinds = sorted(clips)
    deal = Deal(said, clips, rng)
    rows = []
    for place, (snr_db, speaker) in enumerate((snr, who) for snr in SNRS_DB for who in order):
        rows.append(deal.mixture(OTHER, speaker, kinds[place % len(kinds)], snr_db))
    for place, speaker in enumerate(order):
        turn, level = divmod(place, len(SNRS_DB))
        kind = kinds[(len(rows) + place) % len(kinds)]
        row = deal.mixture(ROOM, speaker, kind, SNRS_DB[level])
        rows.append(replace(row, room=ROOMS[(turn + level) % len(ROOMS)]))
    for place, speaker in enumerate(order):
        turn, level = divmod(place, len(SNRS_DB))
        kind = kinds[(len(rows) + place) % len(kinds)]
        row = deal.mixture(QUIET, speaker, kind, SNRS_DB[level - 1])
        rows.append(replace(row, level_db=LEVELS_DB[(turn + level) % len(LEVELS_DB)]))
    return _numbered(rows)


def _stretches(name: str, speech: Sequence[Recording]) -> list[Stretch]:
    """What the speaker whose folder has this name says, in stretches of the longest length."""
    return [
        Stretch(name, f"{name}/{each.path.stem}", each, start)
        for each in sorted(speech, key=lambda recording: recording.path.stem)
        if _ends(each.path.parent, name)
        for start in range(0, each.samples - SHORTEST + 1, LONGEST)
    ]


def _ends(path: Path, name: str) -> bool:
    return f"/{path.with_suffix('').as_posix()}".endswith(f"/{name}")


def _numbered(rows: list[Row]) -> list[Row]:
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


def _row(part: str, said: Stretch, name: str, noise: str, offset: int, snr_db: float | None) -> Row:
    place = (said.samples, name, noise, offset, snr_db, "", said.start)
    return Row(part, 0, said.speaker, said.name, *place)


def _shuffled(names: Sequence[Any], rng: np.random.Generator) -> deque[Any]:
    return deque(names[i] for i in rng.permutation(len(names)))


def with_digests(
    rows: Sequence[Row],
    speech: Sequence[Recording],
    noise: Sequence[Recording],
    of: FrozenList = FIRST,
) -> list[Row]:
    """The rows with the digests of the samples that they make."""
    with tempfile.TemporaryDirectory() as folder:
        items = frozen_items(rows, speech, noise, Path(folder), of)
        return [
            replace(row, sha256=digest(item.load()[1]))
            for row, item in zip(rows, items, strict=True)
        ]


def write(rows: Iterable[Row], file: TextIO, of: FrozenList = FIRST) -> None:
    """Writes the list as CSV."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(of.columns)
    for row in rows:
        cells = (getattr(row, name) for name in of.columns)
        writer.writerow([f"{cell:g}" if isinstance(cell, float) else cell for cell in cells])


def main() -> None:
    """Draws a list and prints it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", required=True, help="tree with LibriSpeech's test-other in it")
    parser.add_argument("--noise", required=True, help="tree with UrbanSound8K's fold10 in it")
    parser.add_argument(
        "--second", action="store_true", help="from what held_out.csv names instead"
    )
    given = parser.parse_args()
    try:
        speech, noise = index_speech(given.speech), index_noise(given.noise)
        if given.second:
            write(
                with_digests(draw_second_list(speech, noise), speech, noise, SECOND),
                sys.stdout,
                SECOND,
            )
            return
        test = split(speech, noise).test
        # A fold-10 source can lend its clips in other folds to the test split; here only fold 10.
        fold10 = [recording for recording in test.noise if recording.split_hint == "fold10"]
        rows = with_digests(draw_list(test.speech, fold10), speech, noise)
    except UserError as error:
        sys.exit(f"{error}")
    write(rows, sys.stdout)


if __name__ == "__main__":
    main()
