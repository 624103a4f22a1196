"""The index finds every layout, names the groups, and says what is wrong with a folder."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from audio_denoising.corpora.corpus import index_noise, index_speech
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


def test_esc_and_urbansound_clips_of_one_freesound_recording_share_a_group(write, tmp_path):
    write("esc/1-59513-A.wav")
    write("esc50/2-59513-B-0.wav")
    write("fold10/59513-3-0-0.wav")
    assert {recording.group for recording in index_noise(tmp_path)} == {"freesound/59513"}


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
def test_errors_name_the_folder_and_the_way_out(index, write, tmp_path, monkeypatch):
    option = "--speech" if index is index_speech else "--noise"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=rf"{empty}.*no audio files.*{option}"):
        index(empty)
    (empty / "text.wav").write_text("this is not audio")
    with pytest.raises(UserError, match=rf"{empty}.*none of its 1 audio files"):
        index(empty)
    with pytest.raises(UserError, match=rf"nowhere does not exist.*{option}"):
        index(tmp_path / "nowhere")
    with pytest.raises(UserError, match=rf"is a file.*{option}"):
        index(write("file.wav"))
    monkeypatch.setattr(os, "scandir", refuse_listing)  # the super-user may list anything
    with pytest.raises(UserError, match=rf"{empty} cannot be read .Permission denied"):
        index(empty)


def test_path_may_be_a_string(tiny_speech):
    assert index_speech(str(Path(tiny_speech[0].path).parents[3])) == tiny_speech
