"""Shards: the same recordings give the same bytes, whole files only, and no split in another's."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from audio_denoising.cli.app import commands
from audio_denoising.corpora.corpus import index_noise, index_speech, read_segment
from audio_denoising.corpora.splits import split
from audio_denoising.errors import UserError
from audio_denoising.mixing import shard_writing
from audio_denoising.mixing.shard_writing import write_shards
from audio_denoising.mixing.shards import find_shards
from tests.mixing.conftest import members

pytest.importorskip("webdataset")

TINY = Path(__file__).parent.parent / "data"
OPTIONS = {"what": "speech", "split": "train"}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"
    }


@pytest.fixture
def voices(write, tmp_path):
    for speaker in "abc":
        for number in range(4):
            write(f"speech/{speaker}/{number}.wav", seconds=3 + number, subtype="PCM_16")
    return index_speech(tmp_path / "speech")


def test_a_shard_holds_flac_and_what_it_is(voices, tmp_path):
    written = write_shards(voices, [tmp_path / "speech"], tmp_path / "out", **OPTIONS)
    (path,) = (tmp_path / "out").glob("*.tar")
    assert path.name == "speech-train-000000.tar"
    found = members(path)
    descriptions = [json.loads(found[name]) for name in found if name.endswith(".json")]
    assert len(descriptions) == 12
    assert {each["split"] for each in descriptions} == {"train"}
    by_file = {recording.path: recording for recording in voices}
    for name, about in zip([n for n in found if n.endswith(".flac")], descriptions, strict=True):
        recording = by_file[tmp_path / "speech" / about["file"]]
        assert about["group"] == recording.group
        audio, rate = soundfile.read(io.BytesIO(found[name]), dtype="float32")
        assert rate == about["rate"] == 16_000
        expected = read_segment(recording, 0, recording.samples)
        np.testing.assert_allclose(audio, expected, atol=2**-15)
    assert written.groups == ["speaker/a", "speaker/b", "speaker/c"]
    assert sum(shard.pieces for shard in written.shards) == 12
    assert written.left_out == {}


def test_the_same_recordings_give_the_same_bytes_and_nothing_is_written_twice(voices, tmp_path):
    for name in ("one", "two"):
        write_shards(voices, [tmp_path / "speech"], tmp_path / name, megabytes=0.5, **OPTIONS)
    first = contents(tmp_path / "one")
    assert len(first) > 3
    assert contents(tmp_path / "two") == first
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").glob("*.tar")}
    write_shards(voices, [tmp_path / "speech"], tmp_path / "one", megabytes=0.5, **OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert contents(tmp_path / "one") == first


def test_a_stopped_run_leaves_whole_shards_only_and_they_are_kept(voices, tmp_path, monkeypatch):
    root, out = tmp_path / "speech", tmp_path / "out"
    write_shards(voices, [root], tmp_path / "whole", megabytes=0.5, **OPTIONS)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    done = 0

    def stop(completed: int, total: int) -> None:
        nonlocal done
        done = completed
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(voices, [root], out, megabytes=0.5, progress=stop, **OPTIONS)
    left = contents(out)
    assert done == 7
    assert 1 < len(left) < 5
    whole = contents(tmp_path / "whole")
    assert not json.loads(left.pop("speech-train.json"))["finished"]
    assert all(whole[name] == content for name, content in left.items())
    decoded = []
    monkeypatch.setattr(
        shard_writing, "read_segment", lambda *given: decoded.append(given) or read_segment(*given)
    )
    write_shards(voices, [root], out, megabytes=0.5, **OPTIONS)
    assert contents(out) == whole
    assert 0 < len(decoded) < 12


def test_another_set_is_replaced_only_on_request(voices, tmp_path):
    root, out = tmp_path / "speech", tmp_path / "out"
    write_shards(voices, [root], out, megabytes=0.3, **OPTIONS)
    before = contents(out)
    with pytest.raises(UserError, match="is of other recordings.*--force"):
        write_shards(voices[:4], [root], out, megabytes=0.3, **OPTIONS)
    assert contents(out) == before
    (out / "speech-validation-000000.tar").write_bytes(b"another set")
    write_shards(voices[:4], [root], out, megabytes=0.3, force=True, **OPTIONS)
    names = {Path(url).name for url in find_shards([f"{out}/speech-train-*.tar"], "speech").urls}
    assert set(contents(out)) == {*names, "speech-train.json", "speech-validation-000000.tar"}
    assert len(names) < len(before) - 1


def test_damaged_and_silent_recordings_are_left_out_and_named(voices, write, tmp_path):
    write("speech/d/silent.wav", samples=np.zeros(50_000))
    root = tmp_path / "speech"
    voices = index_speech(root)
    damaged = voices[0].path
    damaged.write_bytes(b"RIFF")
    for _ in range(2):  # the second run finds the shards there and still knows
        written = write_shards(voices, [root], tmp_path / "out", **OPTIONS)
        assert set(written.left_out) == {"d/silent.wav", damaged.relative_to(root).as_posix()}
    assert sum(shard.pieces for shard in written.shards) == 11
    assert "speaker/d" not in written.groups


def test_folders_with_the_same_names_in_them_stay_apart(write, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in ("one", "two"):
        write(f"{folder}/anna/1.wav", seconds=1)
    voices = index_speech(*folders)
    written = write_shards(voices, folders, tmp_path / "out", **OPTIONS)
    assert [shard.pieces for shard in written.shards] == [2]


def test_names_need_not_be_plain(write, tmp_path):
    names = ("김/녹음.1.wav", "김/녹음.2.wav", "x" * 200 + "/" + "y" * 200 + ".flac", "a b/'*'.wav")
    for name in names:
        write(f"speech/{name}")
    voices = index_speech(tmp_path / "speech")
    write_shards(voices, [tmp_path / "speech"], tmp_path / "out", **OPTIONS)
    found = members(tmp_path / "out" / "speech-train-000000.tar")
    files = {json.loads(found[name]).get("file") for name in found if name.endswith(".json")}
    assert files - {None} == set(names)
    assert all(name.isascii() and name.count(".") == 1 for name in found)


def test_a_full_disk_leaves_no_half_shard(voices, tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device.*free some space"):
        write_shards(voices, [tmp_path / "speech"], tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_nothing_to_write_is_said(voices, tmp_path):
    with pytest.raises(UserError, match="no speech for the train split"):
        write_shards([], [tmp_path / "speech"], tmp_path / "out", **OPTIONS)
    for recording in voices:
        recording.path.write_bytes(b"RIFF")
    with pytest.raises(UserError, match="can be used"):
        write_shards(voices, [tmp_path / "speech"], tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()


def run(*arguments: object) -> str:
    result = CliRunner().invoke(commands(), ["data", "shard", *map(str, arguments)])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_keeps_every_split_by_itself(tmp_path):
    folders = ("--speech", TINY / "LibriSpeech", "--noise", TINY / "noise")
    splits = ("--split", "train", "--split", "validation", "--split", "test")
    output = run(*folders, *splits, "--out", tmp_path / "shards", "--shard-size", 1)
    assert f"denoise train v4 --speech '{tmp_path}/shards/speech-train-*.tar'" in output
    expected = split(index_speech(TINY / "LibriSpeech"), index_noise(TINY / "noise"))
    for what in ("speech", "noise"):
        seen: set[str] = set()
        training = find_shards([f"{tmp_path}/shards/{what}-train-*.tar"], what)
        for name in ("train", "validation", "test"):
            groups = find_shards([f"{tmp_path}/shards/{what}-{name}-*.tar"], what).groups
            assert groups == {r.group for r in getattr(getattr(expected, name), what)}
            assert not groups & seen
            seen |= groups
            for path in (tmp_path / "shards").glob(f"{what}-{name}-*.tar"):
                about = [json.loads(v) for k, v in members(path).items() if k.endswith(".json")]
                assert {each["split"] for each in about} == {name}
                assert {each["group"] for each in about} <= groups
        training.validation()
