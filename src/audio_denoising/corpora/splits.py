"""Divides speech and noise into training, validation and test so that nothing leaks across.

No speaker and no noise source recording is ever in two splits. Who goes where depends on a hash of
the group's name alone, so it is the same on every machine and stays the same when files are added.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from audio_denoising.corpora.corpus import Recording
from audio_denoising.corpora.names import files_held_out

SPEAKER_SHARE = 0.05  # of training speakers lent to validation where a tree has no dev subset
NOISE_SHARE = 0.10  # of loose noise recordings given to validation
FOLD_SHARE = 0.50  # of the last training fold's sources given to validation without a fold 9
PLAIN_SHARE = 0.10  # each, for validation and test, of a corpus whose layout says nothing
LARGEST_SHARE = 0.05  # of the audio: a group larger than this is not spent on validation

VALIDATION_FOLD, TEST_FOLD = "fold9", "fold10"


@dataclass(frozen=True)
class Split:
    """The recordings of one split."""

    speech: list[Recording]
    noise: list[Recording]


@dataclass(frozen=True)
class Splits:
    """The three splits; ``test`` (and, of a tiny corpus, ``validation``) may be empty."""

    train: Split
    validation: Split
    test: Split


def split(
    speech: Sequence[Recording], noise: Sequence[Recording], *, hold_out: Sequence[str] = ()
) -> Splits:
    """Divides what `index_speech` and `index_noise` found.

    Speech: LibriSpeech subsets named train-*, dev-* and test-* are honoured, everything else
    trains; with no dev subset about 5 % of the training speakers validate. Without any LibriSpeech
    tree speakers are divided 80/10/10.

    Noise: UrbanSound8K folds 1-8 train, 9 validates, 10 tests. With no fold 9, half of the source
    recordings of the last training fold validate. A source met in several folds goes where its
    most protected clip goes (test, then validation). Loose noise beside a fold tree goes 90/10 to
    training and validation; without any fold tree noise is divided 80/10/10.

    ``hold_out`` names speakers, noise sources or folders that validate, whatever the rules above
    say: ``"anna"``, ``"librispeech/1272"`` or the path of a folder. They hold out whole groups.
    Where speech is held out, no other speech is drawn to validate (a dev-* subset still does);
    likewise noise.

    Raises UserError if a name of ``hold_out`` fits nothing.
    """
    held = files_held_out(hold_out, [*speech, *noise]) if hold_out else set()
    speech, noise = _divisible(speech), _divisible(noise)
    spoken = _assigned(speech, {r.group for r in speech if r.path in held}, "speech")
    noisy = _assigned(noise, {r.group for r in noise if r.path in held}, "noise")
    train, validation, test = (
        Split(
            [recording for recording in speech if spoken[recording.group] == name],
            [recording for recording in noise if noisy[recording.group] == name],
        )
        for name in ("train", "validation", "test")
    )
    return Splits(train, validation, test)


def _divisible(recordings: Sequence[Recording]) -> Sequence[Recording]:
    """A corpus of one group (a single voice) can only be divided by file: each its own group."""
    if len({recording.group for recording in recordings}) > 1:
        return recordings
    return [replace(recording, group=f"file/{recording.path.name}") for recording in recordings]


def _assigned(recordings: Sequence[Recording], held: Collection[str], what: str) -> dict[str, str]:
    """The split of every group of speech or of noise; the groups in ``held`` validate."""
    hints = _hints(recordings)
    assignment = {group: _most_protected(found) for group, found in hints.items()}
    assignment.update(dict.fromkeys(held, "validation"))

    def training() -> set[str]:
        return {group for group, name in assignment.items() if name == "train"}

    def give(name: str, groups: Collection[str], low: float, high: float) -> None:
        assignment.update(dict.fromkeys(_pick(groups, low, high), name))

    if not any(hints.values()):  # 80/10/10; few groups serve training first, test last
        if not held:
            give("validation", _small(recordings, training()), 0.0, PLAIN_SHARE)
        give("test", _small(recordings, training()), PLAIN_SHARE, 2 * PLAIN_SHARE)
    elif what == "speech":
        if "validation" not in assignment.values():
            give("validation", _small(recordings, training()), 0.0, SPEAKER_SHARE)
    elif not held:
        if not any(VALIDATION_FOLD in found for found in hints.values()):
            folds = {hint for group in training() for hint in hints[group]}
            last = max(folds, key=lambda fold: int(fold.removeprefix("fold")), default="")
            of_last = {group for group in training() if last in hints[group]}
            give("validation", of_last, 0.0, FOLD_SHARE)
        loose = {group for group, found in hints.items() if not found}
        give("validation", _small(recordings, loose), 0.0, NOISE_SHARE)
    return assignment


def _hints(recordings: Iterable[Recording]) -> dict[str, set[str]]:
    """Returns what the layout says about every group."""
    hints: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        found = hints[recording.group]
        if recording.split_hint is not None:
            found.add(recording.split_hint)
    return dict(hints)


def _most_protected(hints: Collection[str]) -> str:
    """The split of a group of which the layout says so much."""
    if {"test", TEST_FOLD} & {*hints}:
        return "test"
    return "validation" if {"validation", VALIDATION_FOLD} & {*hints} else "train"


def _small(recordings: Sequence[Recording], groups: Collection[str]) -> set[str]:
    """Those of ``groups`` that are not a big part of the corpus (all, if fewer than two are small).

    One big folder is usually a single-voice corpus or many unlabelled voices: as a validation
    split it would say little about new speakers, and training would miss it.
    """
    seconds: dict[str, float] = defaultdict(float)
    for recording in recordings:
        seconds[recording.group] += recording.seconds
    largest = LARGEST_SHARE * sum(seconds.values())
    small = {group for group in groups if seconds[group] <= largest}
    return small if len(small) > 1 else set(groups)


def _pick(groups: Collection[str], low: float, high: float) -> set[str]:
    """The groups whose hash falls in [low, high): at least one and never all, if there are two."""
    if len(groups) < 2:
        return set()
    picked = {group for group in groups if low <= _fraction(group) < high}
    if not picked or len(picked) == len(groups):  # few groups: chance must not take all or none
        return {min(groups, key=_fraction)}
    return picked


def _fraction(group: str) -> float:
    """A number in [0, 1) that depends on the name alone (Python's own hash changes every run)."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2.0**64
