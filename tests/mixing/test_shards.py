"""Training from shards: which are meant, what is visited, and what happens to bad ones."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import sys
import tarfile
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.errors import UserError
from audio_denoising.mixing import shards as shards_module
from audio_denoising.mixing.bank import SoundBank
from audio_denoising.mixing.shard_writing import write_shards
from audio_denoising.mixing.shards import ShardSet, find_shards
from tests.misbehaving_server import Page
from tests.mixing.conftest import members, rewrite

pytest.importorskip("webdataset")

PIECES = 12


@pytest.fixture
def shards(write, tmp_path):
    """Speech whose peak names its recording, 3 or 4 to a shard, and noise."""
    rng = np.random.default_rng(0)
    for number in range(PIECES):
        samples = (number + 1) / 100 * rng.choice([-1.0, 1.0], 50_000)
        write(f"speech/s{number % 3}/{number}.wav", samples=samples, subtype="FLOAT")
    for number in range(3):
        write(f"noise/{number}.wav", seconds=3 + number)
    for what, index in (("speech", index_speech), ("noise", index_noise)):
        root = tmp_path / what
        write_shards(
            index(root), [root], tmp_path / "shards", what=what, split="train", megabytes=0.42
        )
    return tmp_path / "shards"


def speech_of(folder: object) -> ShardSet:
    return find_shards([f"{folder}/speech-train-*.tar"], "speech")


def lap(shards: ShardSet, seed: int = 0, split: str = "train") -> list[SoundBank]:
    """What is in the shards of the first lap, none of which is quite unreadable."""
    return list(islice(shards.banks(split, [seed]), len(shards.urls)))


def heard(shards: ShardSet, **options: int) -> list[int]:
    """The numbers of the recordings of a lap, in their order."""
    gains = np.concatenate([bank.gains for bank in lap(shards, **options)])
    return [round(gain * 30_000 / 32_768 * 100) - 1 for gain in gains]


@pytest.mark.parametrize("spec", ["pipe:touch {}; cat x.tar", "-", "s3://b/x.tar"])
def test_nothing_is_run_or_opened_but_paths_and_web_addresses(spec, tmp_path):
    with pytest.raises(UserError, match="is not opened.*--speech takes paths and http"):
        find_shards([spec.format(tmp_path / "touched")], "speech")
    assert not (tmp_path / "touched").exists()


def test_an_index_cannot_name_other_places(shards):
    index = shards / "speech-train.json"
    text = index.read_text()
    for name in ("pipe:touch x-0.tar", "../x-0.tar", "/etc/x-0.tar"):
        index.write_text(text.replace("speech-train-000000.tar", name))
        with pytest.raises(UserError, match="is no index of shards"):
            find_shards([f"{shards}/speech-train-000001.tar"], "speech")


def test_braces_stars_lists_and_single_files(shards):
    names = sorted(path.name for path in shards.glob("speech-*.tar"))
    last = names[-1].removesuffix(".tar")[-6:]
    assert len(names) > 2
    for spec in (
        [f"{shards}/speech-train-{{000000..{last}}}.tar"],
        [f"{shards}/speech-train-*.tar"],
        [str(shards / name) for name in names],
    ):
        found = find_shards(spec, "speech")
        assert [Path(url).name for url in found.urls] == names
        assert found.pieces == PIECES
        assert found.groups == {"speaker/s0", "speaker/s1", "speaker/s2"}
    assert 0 < find_shards([str(shards / names[0])], "speech").pieces < PIECES


def test_what_is_not_there_is_said(shards, tmp_path):
    with pytest.raises(UserError, match=r"train-00000\d\.tar does not exist \(\d of 8 shards"):
        find_shards([f"{shards}/speech-train-{{000000..000007}}.tar"], "speech")
    with pytest.raises(UserError, match="does not exist"):
        find_shards([f"{tmp_path}/*.tar"], "speech")
    with pytest.raises(UserError, match="give these shards to --speech"):
        find_shards([f"{shards}/speech-train-*.tar"], "noise")
    with pytest.raises(UserError, match="no .*speech-validation.json: write it with.*validation"):
        speech_of(shards).validation()
    (shards / "speech-train.json").write_text("{")
    with pytest.raises(UserError, match="is no index of shards, or it is damaged"):
        speech_of(shards)
    (shards / "speech-train.json").unlink()
    assert speech_of(shards).pieces is None


def test_a_lap_visits_every_piece_once_and_the_next_in_another_order(shards):
    speech = speech_of(shards)
    first = heard(speech)
    assert Counter(first) == Counter(range(PIECES)) and speech.damaged == {}
    assert heard(speech) == first
    assert any(heard(speech, seed=seed) != first for seed in range(1, 4))
    banks = list(islice(speech.banks("train", [0]), 3 * len(speech.urls)))
    assert sum(len(bank.starts) for bank in banks) == 3 * PIECES


def test_no_speaker_is_in_both_splits_and_no_set_is_used_before_it_is_whole(shards):
    text = (shards / "speech-train.json").read_text()
    for path in list(shards.glob("speech-train-*.tar")):
        shutil.copy(path, shards / path.name.replace("train", "validation"))
    held_out = shards / "speech-validation.json"
    held_out.write_text(text.replace("train", "validation").replace("speaker/s", "speaker/v"))
    assert speech_of(shards).validation().pieces == PIECES
    held_out.write_text(text.replace("train", "validation"))
    with pytest.raises(UserError, match=r"speaker/s0 and 2 more speech groups .* both splits"):
        speech_of(shards).validation()
    held_out.write_text(json.dumps({**json.loads(held_out.read_text()), "finished": False}))
    with pytest.raises(UserError, match="of a run that was stopped: finish it"):
        speech_of(shards).validation()


def test_sets_of_an_earlier_day_serve(shards):
    """They say less of the set, more of a shard, and begin with a member of their own."""
    place = shards / "speech-train.json"
    index = json.loads(place.read_text())
    for shard in index["shards"]:
        shard["sha256"] = 64 * "0"
        path = shards / shard["name"]
        rewrite(path, {"__plan__/shard.json": b"{}", **members(path)})
    known = "what", "split", "groups", "shards"
    place.write_text(json.dumps({name: index[name] for name in known}))
    speech = speech_of(shards)
    assert sorted(heard(speech)) == list(range(PIECES)) and speech.damaged == {}


def test_a_long_recording_counts_for_a_minute_at_most(write, tmp_path):
    write("noise/long.wav", seconds=150, rate=8_000)
    write("noise/short.wav", seconds=3)
    root = tmp_path / "noise"
    write_shards(index_noise(root), [root], tmp_path / "out", what="noise", split="train")
    (bank,) = lap(find_shards([f"{tmp_path}/out/noise-*.tar"], "noise"))
    assert sorted(np.round(63 * bank.chances)) == [3, 20, 20, 20]


def test_a_member_that_cannot_be_decoded_is_skipped_and_named(shards):
    path = sorted(shards.glob("speech-*.tar"))[1]
    found = members(path)
    keys = [name.removesuffix(".flac") for name in found if name.endswith(".flac")]
    assert len(keys) > 2
    found[f"{keys[0]}.flac"] = b"fLaC"
    found[f"{keys[1]}.flac"] = found[f"{keys[1]}.flac"][:500]  # the header is fine
    found[f"{keys[2]}.json"] = b"{"
    rewrite(path, found)
    speech = speech_of(shards)
    assert len(set(heard(speech))) == PIECES - 3
    assert set(speech.damaged) == {f"{path}: {key}" for key in keys[:3]}


def test_a_truncated_shard_gives_what_it_has(shards):
    path = sorted(shards.glob("speech-*.tar"))[0]
    with tarfile.open(path) as tar:
        third = [member for member in tar if member.name.endswith(".flac")][2]
        count = len(tar.getnames()) // 2
    path.write_bytes(path.read_bytes()[: third.offset_data + 100])
    speech = speech_of(shards)
    assert len(set(heard(speech))) == PIECES - count + 1
    assert list(speech.damaged) == [f"{path} (damaged, 1 of its pieces read)"]


def test_a_shard_that_ends_between_two_members_is_noticed(shards):
    path = sorted(shards.glob("speech-*.tar"))[0]
    found = members(path)
    count = len(found) // 2
    rewrite(path, dict(list(found.items())[:-2]))
    speech = speech_of(shards)
    assert len(set(heard(speech))) == PIECES - 1
    assert list(speech.damaged) == [f"{path} (damaged, {count - 1} of its pieces read)"]


def test_when_nothing_can_be_decoded_the_sentence_is_clean(shards):
    for path in shards.glob("noise-*.tar"):
        path.write_bytes(b"<html>not found</html>" * 100)
    noise = find_shards([f"{shards}/noise-*.tar"], "noise")
    with pytest.raises(
        UserError, match=r"^Nothing in the \d shards of noise can be decoded \(.*tar"
    ):
        next(noise.banks("train", [0]))


def test_no_room_for_a_shard_is_no_damage(shards, monkeypatch):
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device.*free some space"):
        lap(speech_of(shards))


@pytest.mark.parametrize("split", ["test", "validation"])
def test_no_other_split_is_trained_on(shards, split, write, tmp_path):
    write("held/x/1.wav", seconds=3)
    root = tmp_path / "held"
    write_shards(index_speech(root), [root], tmp_path / "out", what="speech", split=split)
    speech = find_shards([f"{tmp_path}/out/*.tar"], "speech")
    with pytest.raises(UserError, match=f"hold the {split} split: give those of the train split"):
        speech.validation()
    # Renamed, and without an index, every piece still tells.
    hidden = shutil.copy(speech.urls[0], shards / "speech-train-000099.tar")
    with pytest.raises(UserError, match=f"recordings of the {split} split"):
        lap(find_shards([str(hidden)], "speech"))
    assert len(lap(speech, split=split)[0].starts) == 1


def test_shards_of_others_serve_and_pickles_stay_closed(shards, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    sound = io.BytesIO()
    time = np.arange(44_100 * 4) / 44_100
    soundfile.write(sound, 0.3 * np.sin(2 * np.pi * 440 * time), 44_100, format="WAV")
    path = tmp_path / "theirs.tar.gz"
    trap = pickle.dumps(Trap())
    theirs = {"a/1.wav": sound.getvalue(), "a/1.pyd": trap, "a/1.pickle": trap, "a/2.txt": b"-"}
    rewrite(path, theirs, "w:gz")
    theirs = find_shards([str(path)], "speech")
    (bank,) = lap(theirs)
    assert bank.lengths == pytest.approx(64_000, abs=100)
    sound = bank.samples[bank.starts[0] :][:48_000].numpy()
    peak = np.abs(np.fft.rfft(sound * np.hanning(48_000))).argmax()
    assert peak / 3 == pytest.approx(440, abs=1)
    assert list(theirs.damaged) == [f"{path}: a/2"]
    assert not (tmp_path / "touched").exists()


def test_a_missing_library_is_named(shards, monkeypatch):
    monkeypatch.setitem(sys.modules, "braceexpand", None)
    with pytest.raises(UserError, match="pip install webdataset"):
        speech_of(shards)


@pytest.fixture
def address(shards, server, monkeypatch):
    """The shards on a server; what it sends is decided in the tests."""
    monkeypatch.setattr(shards_module, "_sleep", lambda seconds: None)
    for path in shards.iterdir():
        server.add(f"/{path.name}", Page(path.read_bytes()))
    host = f"http://127.0.0.1:{server.server_address[1]}"
    last = sorted(shards.glob("speech-*.tar"))[-1].stem[-6:]
    return f"{host}/speech-train-{{000000..{last}}}.tar"


def test_shards_come_from_a_server_however_the_connection_breaks(address, server, shards):
    for name, page in server.pages.items():
        if name.endswith(".tar"):
            page.cut_at[:] = [50_000, 120_000]
    found = find_shards([address], "speech")
    assert sorted(heard(found)) == list(range(PIECES)) and found.damaged == {}
    assert any(request.range == "bytes=50000-" for request in server.requests)
    del server.pages["/speech-train.json"]
    unknown = find_shards([address], "speech")
    assert unknown.pieces is None and len(heard(unknown)) == PIECES


def test_what_a_server_refuses_is_one_sentence(address, server):
    found = find_shards([address], "speech")
    del server.pages["/speech-train-000000.tar"]
    with pytest.raises(UserError, match=r"speech-train-000000\.tar could not be fetched .*404"):
        lap(found)
    server.add("/speech-train.json", Page(json.dumps({"what": "cats"}).encode()))
    with pytest.raises(UserError, match="speech-train.json is no index of shards"):
        find_shards([address], "speech")
