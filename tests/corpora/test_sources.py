"""Several folders at once: how weights are written, and what they do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising.corpora.corpus import Recording, index_noise, index_speech
from audio_denoising.corpora.sources import (
    Source,
    chances,
    noise_chances,
    parse_sources,
    speech_chances,
    weights_of,
)
from audio_denoising.corpora.splits import split
from audio_denoising.errors import UserError
from audio_denoising.mixing.dataset import MixtureDataset


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my/voices", Source("my/voices")),
        ("my/voices=2", Source("my/voices", 2.0)),
        ("a=b/c=.5", Source("a=b/c", 0.5)),
        ("a=1e-3", Source("a", 0.001)),
        ("a=b", Source("a=b")),
        ("C:\\voices=3.", Source("C:\\voices", 3.0)),
        ("https://host/speech-{0..9}.tar=3", Source("https://host/speech-{0..9}.tar", 3.0)),
        ("https://host/speech.tar?key=3", Source("https://host/speech.tar?key=3")),
    ],
)
def test_a_folder_and_its_weight(text, expected):
    assert parse_sources([text], "--speech") == [expected]


def test_a_folder_that_is_called_like_a_weight(tmp_path, monkeypatch):
    (tmp_path / "take=2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_sources(["take=2"], "--speech") == [Source("take=2")]
    assert parse_sources(["take=2=3"], "--speech") == [Source("take=2", 3.0)]


@pytest.mark.parametrize("text", ["a=0", "a=-1", "a=1e999"])
def test_a_weight_must_be_above_nothing(text):
    with pytest.raises(UserError, match=f"--noise {text}: a weight must be above 0"):
        parse_sources([text], "--noise")


def test_all_have_a_weight_or_none():
    with pytest.raises(UserError, match="--speech b has no weight and others have one"):
        parse_sources(["a=1", "b"], "--speech")
    assert weights_of(parse_sources(["a"], "--speech")) is None
    assert weights_of(parse_sources(["a", "b"], "--speech")) == [None, None]
    assert weights_of(parse_sources(["a=1"], "--speech")) == [1.0]


def recordings(*lengths: list[float]) -> list[Recording]:
    return [
        Recording(Path(f"{source}/{number}"), "x", round(seconds * 16_000), 16_000, source=source)
        for source, each in enumerate(lengths)
        for number, seconds in enumerate(each)
    ]


durations = st.lists(st.integers(1, 900), min_size=1, max_size=8)


@given(st.lists(st.tuples(durations, st.floats(0.01, 100)), min_size=1, max_size=4))
def test_sources_share_the_draws_by_weight_and_recordings_by_duration(drawn):
    found = recordings(*(lengths for lengths, _ in drawn))
    weights = [weight for _, weight in drawn]
    drawn_by_weight = chances(found, weights)
    for number, (lengths, weight) in enumerate(drawn):
        mine = drawn_by_weight[[r.source == number for r in found]]
        np.testing.assert_allclose(mine, weight * np.array(lengths) / sum(lengths))
    np.testing.assert_allclose(chances(found, [None] * len(drawn)), [r.seconds for r in found])


def test_one_folder_is_visited_as_ever_and_long_noise_is_not_everything():
    found = recordings([10, 600])
    assert speech_chances(found, None) is None
    assert noise_chances(found, None).tolist() == [10, 60]
    weighted = speech_chances(found, [1.0])
    assert weighted is not None and weighted[1] == pytest.approx(60 * weighted[0])


def write_constants(write, what: str, values: dict[str, tuple[float, float]]) -> None:
    """Recordings of a constant value: name -> (value, seconds)."""
    for name, (value, seconds) in values.items():
        samples = np.full(round(seconds * 16_000), value)
        write(f"{what}/{name}.wav", samples=samples, subtype="FLOAT")


def visits(dataset: MixtureDataset, epoch: int) -> Counter[int]:
    items = (dataset[epoch, index] for index in range(len(dataset)))
    return Counter(round(float(item.speech.max()) * 100) for item in items)


@pytest.fixture
def constants(write, tmp_path):
    long = {"1": (0.01, 12), "2": (0.02, 6)}
    write_constants(write, "a", long | {"3": (0.03, 3), "4": (0.04, 3)})
    write_constants(write, "b", {"9": (0.09, 3)})
    write("noise/x.wav", seconds=4)
    return tmp_path


def test_speech_by_duration_is_spread_evenly(constants):
    speech, noise = index_speech(constants / "a"), index_noise(constants / "noise")
    dataset = MixtureDataset(
        speech, noise, epoch_size=16, speech_chances=speech_chances(speech, [1.0])
    )
    assert visits(dataset, 0) == visits(dataset, 1) == {1: 8, 2: 4, 3: 2, 4: 2}
    orders = [[float(dataset[e, i].speech.max()) for i in range(16)] for e in (0, 1)]
    assert orders[0] != orders[1]


def test_weights_decide_between_folders(constants):
    speech = index_speech(constants / "a", constants / "b")
    noise = index_noise(constants / "noise")
    drawn = {
        weights: visits(
            MixtureDataset(
                speech, noise, epoch_size=36, speech_chances=speech_chances(speech, weights)
            ),
            epoch=0,
        )
        for weights in ((None, None), (1.0, 2.0))
    }
    assert drawn[None, None][9] == pytest.approx(36 * 3 / 27, abs=1)
    assert drawn[1.0, 2.0][9] == pytest.approx(24, abs=1)
    assert drawn[1.0, 2.0][1] == pytest.approx(6, abs=1)


def test_weighted_noise(write, tmp_path):
    write_constants(write, "one", {"x": (0.1, 9)})
    write_constants(write, "other", {"x": (-0.1, 1)})
    write("speech/x.wav", seconds=3)
    noise = index_noise(tmp_path / "one", tmp_path / "other")
    dataset = MixtureDataset(
        index_speech(tmp_path / "speech"),
        noise,
        epoch_size=100,
        noise_chances=noise_chances(noise, [1.0, 4.0]),
    )
    other = sum(float(dataset[0, index].noise.mean()) < 0 for index in range(100))
    assert 65 <= other <= 92  # 80 expected


def test_a_damaged_recording_is_replaced_by_another_draw(constants):
    speech, noise = index_speech(constants / "a"), index_noise(constants / "noise")
    speech[0].path.write_bytes(b"RIFF")
    dataset = MixtureDataset(
        speech, noise, epoch_size=4, speech_chances=speech_chances(speech, [1.0])
    )
    assert sum(visits(dataset, 0).values()) == 4
    assert dataset.damaged == [speech[0].path]


def test_folders_that_hold_one_another_are_refused(constants):
    with pytest.raises(UserError, match=r"1\.wav is in two of the folders given"):
        index_speech(constants, constants / "a")
    assert [r.source for r in index_speech(constants / "b", constants / "a")] == [0, 1, 1, 1, 1]


def test_no_source_and_no_speaker_of_two_folders_is_in_two_splits(write, tmp_path):
    for number in range(12):
        write(f"one/{number}/a.wav")
        write(f"other/{number}/b.wav")  # the same speakers
        write(f"folds/fold{number % 3 + 1}/{number}-1-0-0.wav")
        write(f"esc/1-{number}-A.wav")  # the same Freesound recordings
    splits = split(
        index_speech(tmp_path / "one", tmp_path / "other"),
        index_noise(tmp_path / "folds", tmp_path / "esc"),
    )
    for what in ("speech", "noise"):
        parts = [getattr(part, what) for part in (splits.train, splits.validation, splits.test)]
        groups = [{recording.group for recording in part} for part in parts]
        assert sum(map(len, groups)) == len(set().union(*groups)) == 12
        assert sum(map(len, parts)) == 24
        for part in parts:
            assert len({r.path for r in part if r.source == 0}) * 2 == len(part)
