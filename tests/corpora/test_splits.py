"""No speaker and no noise source is in two splits, whatever the corpus looks like."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising.corpora.corpus import Recording
from audio_denoising.corpora.held_out import is_held_out
from audio_denoising.corpora.splits import Splits, split
from audio_denoising.errors import UserError

NAMES = ("train", "validation", "test")


def recording(
    group: str, hint: str | None = None, *, seconds: int = 4, name: str = "0"
) -> Recording:
    return Recording(Path(f"{group}/{hint}/{name}.wav"), group, seconds * 16_000, 16_000, hint)


def speakers(count: int, hint: str | None = None) -> list[Recording]:
    return [recording(f"speaker/{number}", hint) for number in range(count)]


def groups(splits: Splits, what: str) -> dict[str, set[str]]:
    return {name: {r.group for r in getattr(getattr(splits, name), what)} for name in NAMES}


def divided(speech: list[Recording], noise: list[Recording], hold_out: Any = ()) -> Splits:
    """The splits, once every recording is in one of them, and every group in one alone."""
    splits = split(speech, noise, hold_out=hold_out)
    for what, given_recordings in (("speech", speech), ("noise", noise)):
        parts = [getattr(getattr(splits, name), what) for name in NAMES]
        paths = sorted(r.path for part in parts for r in part)
        assert paths == sorted(r.path for r in given_recordings)
        for one, other in combinations(groups(splits, what).values(), 2):
            assert not one & other
    return splits


NOISE = speakers(20)


def test_tiny_corpus(tiny_speech, tiny_noise):
    splits = divided(tiny_speech, tiny_noise)
    for name, subset, folds in (
        ("train", "train-clean-100", {f"fold{number}" for number in range(1, 9)}),
        ("validation", "dev-clean", {"fold9"}),
        ("test", "test-clean", {"fold10"}),
    ):
        part = getattr(splits, name)
        assert {r.path.parents[2].name for r in part.speech} == {subset}
        assert {r.path.parent.name for r in part.noise} == folds


def test_without_a_dev_subset_some_training_speakers_validate():
    speech = [*speakers(400, "train"), recording("speaker/reader", "test")]
    splits = divided(speech, NOISE)
    assert 8 <= len(splits.validation.speech) <= 32  # 5 % of 400, give or take
    assert [r.group for r in splits.test.speech] == ["speaker/reader"]


def test_other_speech_beside_a_dev_subset_only_trains():
    speech = [*speakers(50), recording("librispeech/1", "validation")]
    assert len(split(speech, NOISE).validation.speech) == 1


def test_a_big_unlabelled_folder_is_not_spent_on_validation():
    big = [recording("speaker/collection", seconds=30, name=str(number)) for number in range(60)]
    for number in range(40):  # whatever the hashes of the others are
        speech = [*big, *(recording(f"librispeech/{number}-{i}", "train") for i in range(3))]
        assert "speaker/collection" in groups(split(speech, NOISE), "speech")["train"]


def test_one_short_file_among_long_ones_does_not_prevent_validation():
    noise = [*(recording(f"file/{name}", seconds=60) for name in "abcd"), recording("file/click")]
    splits = divided(speakers(9), noise)
    assert splits.train.noise and splits.validation.noise


@pytest.mark.parametrize("count", [2, 3, 5, 10, 300])
def test_plain_folders_are_divided_and_training_is_never_empty(count):
    speech = speakers(count)
    splits = divided(speech, speech)
    for part in (splits.train, splits.validation):
        assert part.speech and part.noise
    assert bool(splits.test.speech) == (count > 2)
    if count == 300:
        assert 15 <= len(splits.validation.speech) <= 45
        assert 15 <= len(splits.test.speech) <= 45


def test_a_single_voice_is_divided_by_file():
    speech = [recording("speaker/me", name=str(number)) for number in range(40)]
    splits = divided(speech, NOISE)
    assert splits.train.speech and splits.validation.speech


def test_a_missing_fold_9_is_taken_from_the_last_training_fold():
    noise = [
        recording(f"freesound/{fold}{i}", f"fold{fold}")
        for fold in (1, 2, 3, 10)
        for i in range(30)
    ]
    splits = divided(speakers(9), noise)
    assert {r.split_hint for r in splits.validation.noise} == {"fold3"}
    assert 5 <= len(splits.validation.noise) <= 25
    assert {r.split_hint for r in splits.train.noise} == {"fold1", "fold2", "fold3"}
    assert {r.split_hint for r in splits.test.noise} == {"fold10"}


def test_a_source_in_several_folds_goes_where_it_is_most_protected():
    noise = [
        recording("freesound/1", "fold1"), recording("freesound/1", "fold10"),
        recording("freesound/2", "fold1"), recording("freesound/2", "fold9"),
        recording("freesound/3", "fold9"), recording("freesound/3", "fold10"),
        recording("freesound/4", None), recording("freesound/4", "fold10"),
        recording("freesound/5", "fold1"),
    ]  # fmt: skip
    splits = split(speakers(9), noise)
    assert groups(splits, "noise") == {
        "train": {"freesound/5"},
        "validation": {"freesound/2"},
        "test": {"freesound/1", "freesound/3", "freesound/4"},
    }


def test_loose_noise_beside_folds_is_never_tested_on():
    noise = [*speakers(200), recording("freesound/1", "fold1"), recording("freesound/2", "fold10")]
    splits = divided(speakers(9), noise)
    assert groups(splits, "noise")["test"] == {"freesound/2"}
    assert 8 <= len(splits.validation.noise) <= 35


def test_who_validates_does_not_depend_on_the_company():
    few, many = (groups(split(speakers(count), NOISE), "speech") for count in (100, 200))
    for name in NAMES:
        assert few[name] == {g for g in many[name] if int(g.removeprefix("speaker/")) < 100}


def test_speakers_are_held_out_by_name_and_no_others_are_drawn():
    speech = [*speakers(60), recording("speaker/north/anna")]
    splits = divided(speech, NOISE, hold_out=["7", "north/anna", "speaker/3"])
    held = {"speaker/7", "speaker/north/anna", "speaker/3"}
    assert groups(splits, "speech")["validation"] == held
    assert split(speech, NOISE, hold_out=["anna"]).validation.speech == [speech[-1]]


def test_a_folder_is_held_out_with_whole_groups(tiny_speech, tiny_noise):
    folder = next(r for r in tiny_noise if r.split_hint == "fold1").path.parent
    splits = divided(tiny_speech, tiny_noise, hold_out=[str(folder)])
    held = {r.group for r in tiny_noise if r.split_hint == "fold1"}
    assert held <= groups(splits, "noise")["validation"]
    assert splits.train.speech == split(tiny_speech, tiny_noise).train.speech


def test_held_out_noise_beside_a_tree_without_fold_9():
    noise = [recording(f"freesound/{number}", f"fold{number % 3 + 1}") for number in range(30)]
    splits = split(speakers(9), noise, hold_out=["freesound/4"])
    assert groups(splits, "noise")["validation"] == {"freesound/4"}
    assert len(splits.train.noise) == 29


def test_a_dev_subset_validates_beside_what_is_held_out():
    speech = [*speakers(50, "train"), recording("librispeech/1", "validation")]
    splits = split(speech, NOISE, hold_out=["speaker/5"])
    assert groups(splits, "speech")["validation"] == {"librispeech/1", "speaker/5"}


@pytest.mark.parametrize("name", ["nobody", "", "eaker/5"])
def test_a_name_that_holds_out_nothing_is_refused(name):
    with pytest.raises(UserError, match="Nothing to hold out is called"):
        split(speakers(50), NOISE, hold_out=[name])


hints = st.sampled_from([None, "train", "validation", "test"])
folds = st.sampled_from([None, *(f"fold{number}" for number in range(1, 11))])


@given(
    st.lists(st.tuples(st.integers(0, 12), hints), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 12), folds), min_size=1, max_size=40),
)
def test_nothing_leaks_out_of_any_tree(speech_groups, noise_groups):
    speech, noise = (
        [recording(f"group/{group}", hint, name=str(i)) for i, (group, hint) in enumerate(drawn)]
        for drawn in (speech_groups, noise_groups)
    )
    splits = divided(speech, noise)
    assert split(speech[::-1], noise[::-1]).train.speech[::-1] == splits.train.speech


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("speech/emodb/emodb03/emodb03-01.opus", True),
        (Path("/somewhere/else/emodb/emodb16/a.flac"), True),
        ("/data/noise/esc50-permissive/engine/2-78651-A.opus", True),
        ("noise/ambient-core/metro_cabin-2.wav", True),
        ("noise/ambient/urban/highway", True),
        ("speech/speechocean762/SPEAKER0001/000010011.opus", False),
        ("noise/ambient-core/rain_heavy.opus", False),
        ("noise/esc50-permissive/engine/2-786511-A.opus", False),  # longer than a name of the list
        ("noise/esc50-permissive/siren/2-78651-A.opus", False),  # another folder
        ("emodb/emodb1/emodb1-01.opus", False),
    ],
)
def test_held_out_wherever_the_corpora_stand_and_everything_else_may_train(path, held):
    assert is_held_out(path) is held
