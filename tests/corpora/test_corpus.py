"""The index finds every layout and names the groups; a stretch is read exactly and alone."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
import soundfile
import soxr

from audio_denoising.corpora.corpus import (
    DamagedRecording,
    index_noise,
    index_speech,
    read_segment,
)
from audio_denoising.errors import UserError


def test_librispeech_trees_give_speakers_and_subsets(tiny_speech):
    found = {(recording.group, recording.split_hint) for recording in tiny_speech}
    assert ("librispeech/19", "train") in found
    assert ("librispeech/27", "validation") in found
    assert ("librispeech/4441", "test") in found
    assert len({group for group, _ in found}) == 10
    assert all(recording.rate == 16_000 and recording.seconds > 2 for recording in tiny_speech)


def test_urbansound_trees_give_sources_and_folds(tiny_noise):
    assert {recording.split_hint for recording in tiny_noise} == {f"fold{i}" for i in range(1, 11)}
    slices = [recording for recording in tiny_noise if recording.group == "freesound/193480"]
    assert [recording.path.stem for recording in slices] == ["193480-5-0-0", "193480-5-0-1"]


def test_a_subset_folder_itself_is_understood(tiny_speech):
    folder = tiny_speech[0].path.parents[2]  # …/LibriSpeech/dev-clean
    assert {(r.group, r.split_hint) for r in index_speech(folder)} == {
        ("librispeech/254", "validation"),
        ("librispeech/27", "validation"),
    }


def test_plain_folders(write, tmp_path):
    for name in ("alone.wav", "anna/1.wav", "anna/2.flac", "bert/1.ogg", "bert/deep/er/1.mp3"):
        write(name)
    write(".hidden/1.wav")
    write("anna/._1.wav")
    (tmp_path / "notes.txt").write_text("not audio")
    assert [(r.path.relative_to(tmp_path).as_posix(), r.group) for r in index_speech(tmp_path)] == [
        ("alone.wav", "file/alone"),
        ("anna/1.wav", "speaker/anna"),
        ("anna/2.flac", "speaker/anna"),
        ("bert/1.ogg", "speaker/bert"),
        ("bert/deep/er/1.mp3", "speaker/bert/deep/er"),
    ]
    assert {recording.group for recording in index_noise(tmp_path)} == {
        *("file/alone", "file/anna/1", "file/anna/2", "file/bert/1", "file/bert/deep/er/1")
    }


def test_the_path_given_does_not_change_the_groups(write, tmp_path, monkeypatch):
    write("anna/1.wav")
    monkeypatch.chdir(tmp_path)
    assert index_speech(".") == index_speech(tmp_path)


def test_links_are_followed_but_not_in_circles(write, tmp_path):
    write("real/anna/1.wav")
    folder = tmp_path / "linked"
    folder.mkdir()
    try:
        (folder / "corpus").symlink_to(tmp_path / "real")
        (folder / "circle").symlink_to(folder)
    except OSError:
        pytest.skip("this system allows no symbolic links")
    assert len(index_speech(folder)) == 1


def test_unreadable_files_are_left_out_with_one_warning(write, tmp_path, caplog):
    write("good.wav")
    (tmp_path / "text.wav").write_text("this is not audio")
    (tmp_path / "empty.flac").touch()
    write("nothing.wav", samples=np.zeros(0))
    with caplog.at_level(logging.WARNING):
        assert [recording.path.name for recording in index_speech(tmp_path)] == ["good.wav"]
    assert len(caplog.records) == 1
    assert "3 of 4 files" in caplog.text


def refuse_listing(place, *_):
    raise PermissionError(13, "Permission denied", str(place))


@pytest.mark.parametrize("index", [index_speech, index_noise])
def test_errors_name_the_folder_and_the_way_out(index, tmp_path, monkeypatch):
    option = "--speech" if index is index_speech else "--noise"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=rf"{empty}.*no audio files.*{option}"):
        index(empty)
    (empty / "text.wav").write_text("this is not audio")
    with pytest.raises(UserError, match=rf"{empty}.*none of its 1 audio files"):
        index(empty)
    monkeypatch.setattr(os, "scandir", refuse_listing)  # the super-user may list anything
    with pytest.raises(UserError, match=rf"{empty} cannot be read .Permission denied"):
        index(empty)


RATE = 16_000
FORMATS = [
    ("wav", 16_000, 1), ("wav", 11_025, 3),
    ("flac", 48_000, 1), ("ogg", 44_100, 2), ("opus", 48_000, 2), ("mp3", 44_100, 2),
]  # fmt: skip


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return np.allclose(found[: len(expected)], expected[: len(found)], atol=2e-4)


@pytest.mark.parametrize(("suffix", "rate", "channels"), FORMATS)
def test_a_stretch_equals_the_same_stretch_of_the_whole_file(
    write, tmp_path, suffix, rate, channels
):
    subtype = "OPUS" if suffix == "opus" else None
    path = write(f"x.{suffix}", seconds=4.3, rate=rate, channels=channels, subtype=subtype)
    whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
    expected = soxr.resample(whole.mean(axis=1), rate, RATE)
    (recording,) = index_speech(tmp_path)
    assert abs(recording.samples - 4.3 * RATE) < 0.05 * RATE
    for start, length in ((0, 8_000), (1, 777), (20_001, 40_800), (60_000, 40_800)):
        found = read_segment(recording, start, length)
        assert found.dtype == np.float32
        assert len(found) == min(length, recording.samples - start)
        # libsndfile may seek late in Vorbis by up to one window of 2048.
        lags = range(0, 2_049, 64) if suffix == "ogg" else [0]
        assert any(same(found, expected[start + lag : start + length]) for lag in lags)


def test_damaged_files_are_told_apart(write, tmp_path):
    path = write("x.flac", seconds=3)
    (recording,) = index_speech(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DamagedRecording, match=r"x\.flac"):
        read_segment(recording, 20_000, 16_000)
    path.unlink()
    with pytest.raises(DamagedRecording, match=r"x\.flac"):
        read_segment(recording, 0, 16_000)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_damage(write, tmp_path, value):
    write("x.wav", samples=np.array([0.1] * 99 + [value]), subtype="FLOAT")
    (recording,) = index_speech(tmp_path)
    with pytest.raises(DamagedRecording, match="not numbers"):
        read_segment(recording, 0, 100)
