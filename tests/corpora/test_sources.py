"""Several folders at once, and how their weights are written."""

from __future__ import annotations

import pytest

from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.corpora.sources import Source, is_shards, parse_sources, weights_of
from audio_denoising.corpora.splits import split
from audio_denoising.errors import UserError


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


def test_folders_that_hold_one_another_are_refused(write, tmp_path):
    for name in ("a/1", "a/2", "b/1"):
        write(f"{name}.wav")
    with pytest.raises(UserError, match=r"1\.wav is in two of the folders given"):
        index_speech(tmp_path, tmp_path / "a")
    assert [r.source for r in index_speech(tmp_path / "b", tmp_path / "a")] == [0, 1, 1]


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shards/a-{000..009}.tar", True),
        ("a.tar.gz", True),
        ("https://host/a-{0..9}.tar?key=1", True),
        ("pipe:cat a.tar", True),  # so that it is refused for what it is
        ("data/tar", False),
    ],
)
def test_shards_are_told_from_folders(text, expected):
    assert is_shards(text) is expected
