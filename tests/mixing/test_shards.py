"""Shards: whole sets of the same bytes, what is visited, and what happens to bad ones."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import sys
import tarfile
from collections import Counter
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from audio_denoising.cli.app import commands
from audio_denoising.corpora.corpus import index_noise, index_speech, read_segment
from audio_denoising.corpora.splits import split
from audio_denoising.corpora.transfer import Transfer
from audio_denoising.errors import UserError
from audio_denoising.mixing.bank import SoundBank
from audio_denoising.mixing.shards import write_shards
from audio_denoising.training import shard_material
from audio_denoising.training.shard_material import ShardSet
from tests.misbehaving_server import Page

pytest.importorskip("webdataset")

TINY = Path(__file__).parent.parent / "data"
PIECES = 12


def members(shard: Path) -> dict[str, bytes]:
    """Its files by their names."""
    with tarfile.open(shard) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def rewrite(shard: Path, members: dict[str, bytes], mode: str = "w") -> None:
    """Makes it of other files."""
    with tarfile.open(shard, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture
def voices(write, tmp_path):
    """Twelve recordings of three speakers, whose peaks name them."""
    rng = np.random.default_rng(0)
    for number in range(PIECES):
        samples = (number + 1) / 100 * rng.choice([-1.0, 1.0], 50_000)
        write(f"speech/s{number % 3}/{number}.wav", samples=samples, subtype="FLOAT")
    return index_speech(tmp_path / "speech")


@pytest.fixture
def shards(voices, tmp_path):
    """They, a few to a shard."""
    write_shards(voices, [tmp_path / "speech"], tmp_path / "shards", what="speech", split="train",
                 megabytes=0.2)  # fmt: skip
    return tmp_path / "shards"


# Writing


def test_a_shard_holds_flac_and_what_it_is(write, tmp_path):
    names = ("김/녹음.1.wav", "김/녹음.2.wav", "x" * 200 + "/" + "y" * 200 + ".flac", "a b/'*'.wav")
    for name in names:
        write(f"speech/{name}", seconds=1)
    write("speech/d/silent.wav", samples=np.zeros(50_000))
    damaged = write("speech/d/damaged.flac", seconds=3)
    damaged.write_bytes(damaged.read_bytes()[:9000])
    root = tmp_path / "speech"
    voices = {recording.path: recording for recording in index_speech(root)}
    index = write_shards(list(voices.values()), [root], tmp_path, what="speech", split="train")
    found = members(tmp_path / "speech-train-000000.tar")
    assert all(name.isascii() and name.count(".") == 1 for name in found)
    abouts = {name: json.loads(v) for name, v in found.items() if name.endswith(".json")}
    assert {about["file"] for about in abouts.values()} == set(names)
    for name, about in abouts.items():
        recording = voices[root / about["file"]]
        assert (about["split"], about["group"]) == ("train", recording.group)
        audio, rate = soundfile.read(io.BytesIO(found[f"{name[:-5]}.flac"]), dtype="float32")
        expected = read_segment(recording, 0, recording.samples)
        np.testing.assert_allclose(audio, expected, atol=2**-15)
        assert rate == 16_000
    assert index["groups"] == sorted({about["group"] for about in abouts.values()})
    assert [shard["pieces"] for shard in index["shards"]] == [4]
    assert set(index["left_out"]) == {"d/silent.wav", "d/damaged.flac"}
    with pytest.raises(UserError, match="no speech for the validation split that can be used"):
        write_shards([], [root], tmp_path / "nothing", what="speech", split="validation")


def test_the_same_recordings_give_the_same_bytes(voices, tmp_path):
    for name in ("one", "100 %d: two"):
        write_shards(voices, [tmp_path / "speech"], tmp_path / name, what="speech", split="train",
                     megabytes=0.2)  # fmt: skip
    assert len(contents(tmp_path / "one")) > 3
    assert contents(tmp_path / "100 %d: two") == contents(tmp_path / "one")


def test_folders_with_the_same_names_in_them_stay_apart(write, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in ("one", "two"):
        write(f"{folder}/anna/1.wav", seconds=1)
    voices = index_speech(*folders)
    index = write_shards(voices, folders, tmp_path / "out", what="speech", split="train")
    assert [shard["pieces"] for shard in index["shards"]] == [2]


def command(out: Path, *arguments: object) -> str:
    folders = ("--speech", TINY / "LibriSpeech", "--noise", TINY / "noise", "--out", out)
    line = ["data", "shard", *map(str, (*folders, *arguments))]
    result = CliRunner().invoke(commands(), line)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_keeps_every_split_by_itself(tmp_path):
    out = tmp_path / "shards"
    splits = ("--split", "train", "--split", "validation", "--split", "test")
    assert f"denoise train v4 --speech '{out}/speech-train-*.tar'" in command(out, *splits)
    expected = split(index_speech(TINY / "LibriSpeech"), index_noise(TINY / "noise"))
    for what in ("speech", "noise"):
        for name in ("train", "validation", "test"):
            groups = {r.group for r in getattr(getattr(expected, name), what)}
            assert ShardSet.of([out / f"{what}-{name}-*.tar"], what).groups == groups
            for path in out.glob(f"{what}-{name}-*.tar"):
                about = [json.loads(v) for k, v in members(path).items() if k.endswith(".json")]
                assert {each["split"] for each in about} == {name}
                assert {each["group"] for each in about} <= groups
        ShardSet.of([out / f"{what}-train-*.tar"], what).validation()


def test_a_folder_of_shards_appears_whole_and_is_replaced_only_on_request(tmp_path, monkeypatch):
    out = tmp_path / "shards"
    command(out, "--split", "test")
    before = contents(out)
    with pytest.raises(UserError, match="holds a set.*--force"):
        command(out)
    (out / "notes.txt").touch()
    with pytest.raises(UserError, match=r"see notes.txt.*never replaced"):
        command(out, "--force")
    (out / "notes.txt").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(UserError, match="cannot be written.*free some space"):
            command(out, "--force")
    assert contents(out) == before and list(tmp_path.iterdir()) == [out]
    command(out, "--force")
    assert {name.split("-")[1] for name in contents(out)} == {
        *("train", "validation", "train.json", "validation.json")
    }


# Finding


def speech_of(folder: object) -> ShardSet:
    return ShardSet.of([f"{folder}/speech-train-*.tar"], "speech")


def lap(shards: ShardSet, seed: int = 0, split: str = "train") -> list[SoundBank]:
    """What is in the shards of the first lap, none of which is quite unreadable."""
    return list(islice(shards.banks(split, [seed]), len(shards.urls)))


def heard(shards: ShardSet, **options: int) -> list[int]:
    """The numbers of the recordings of a lap, in their order."""
    gains = np.concatenate([bank.gains for bank in lap(shards, **options)])
    return [round(gain * 30_000 / 32_768 * 100) - 1 for gain in gains]


def test_braces_stars_lists_and_single_files(shards):
    names = sorted(path.name for path in shards.glob("speech-*.tar"))
    last = names[-1].removesuffix(".tar")[-6:]
    assert len(names) > 2
    for spec in (
        [f"{shards}/speech-train-{{000000..{last}}}.tar"],
        [f"{shards}/speech-train-*.tar"],
        [shards / name for name in names],
    ):
        found = ShardSet.of(spec, "speech")
        assert [Path(url).name for url in found.urls] == names
        assert found.pieces == PIECES
        assert found.groups == {"speaker/s0", "speaker/s1", "speaker/s2"}
    assert 0 < ShardSet.of([shards / names[0]], "speech").pieces < PIECES


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("{shards}/speech-train-{{000000..000077}}.tar", r"train-0000\d\d\.tar does not exist"),
        ("{shards}/nothing-*.tar", "does not exist: check the name"),
        ("pipe:touch {shards}/touched; cat x.tar", "does not exist"),
        ("s3://b/x.tar", "does not exist"),
        ("{shards}/{{a,b.tar", "braces that do not match"),
    ],
)
def test_nothing_is_run_or_opened_but_shards_that_are_there(spec, sentence, shards):
    with pytest.raises(UserError, match=sentence):
        ShardSet.of([spec.format(shards=shards)], "speech")
    assert not (shards / "touched").exists()


def test_an_index_is_read_refused_or_missed(shards):
    index = shards / "speech-train.json"
    content = json.loads(index.read_text())
    # One of an earlier day says more and less, and its shards begin with a member of their own.
    for shard in content["shards"]:
        shard["sha256"] = 64 * "0"
        rewrite(
            shards / shard["name"],
            {"__plan__/shard.json": b"{}", **members(shards / shard["name"])},
        )
    known = {name: content[name] for name in ("what", "split", "groups", "shards")}
    index.write_text(json.dumps({**known, "plan": "", "finished": True}))
    speech = speech_of(shards)
    assert sorted(heard(speech)) == list(range(PIECES)) and speech.damaged == {}
    for text in ("{", "[]", '{"what": "cats"}'):
        index.write_text(text)
        with pytest.raises(UserError, match="is no index of shards, or it is damaged"):
            speech_of(shards)
    index.unlink()
    assert speech_of(shards).pieces is None and len(heard(speech_of(shards))) == PIECES


def test_a_missing_library_is_named(shards, monkeypatch):
    monkeypatch.setitem(sys.modules, "braceexpand", None)
    with pytest.raises(UserError, match="pip install webdataset"):
        speech_of(shards)


def test_no_speaker_is_in_both_splits(shards):
    with pytest.raises(UserError, match="no .*speech-validation.json: .*data shard. writes it"):
        speech_of(shards).validation()
    text = (shards / "speech-train.json").read_text().replace("train", "validation")
    for path in list(shards.glob("speech-train-*.tar")):
        shutil.copy(path, shards / path.name.replace("train", "validation"))
    held_out = shards / "speech-validation.json"
    held_out.write_text(text.replace("speaker/s", "speaker/v"))
    assert speech_of(shards).validation().pieces == PIECES
    held_out.write_text(text)
    with pytest.raises(UserError, match=r"speaker/s0 is in the speech shards of both splits"):
        speech_of(shards).validation()
    # Renamed, and without an index, every piece still tells.
    with pytest.raises(UserError, match="recordings of the train split: give shards of the test"):
        lap(ShardSet.of([f"{shards}/speech-validation-*.tar"], "speech"), split="test")


# Reading


def test_a_lap_visits_every_piece_once_and_the_next_in_another_order(shards):
    speech = speech_of(shards)
    first = heard(speech)
    assert Counter(first) == Counter(range(PIECES)) and speech.damaged == {}
    assert heard(speech) == first
    assert any(heard(speech, seed=seed) != first for seed in range(1, 4))
    banks = list(islice(speech.banks("train", [0]), 3 * len(speech.urls)))
    assert sum(len(bank.starts) for bank in banks) == 3 * PIECES


def test_a_long_recording_counts_for_a_minute_at_most(write, tmp_path):
    write("noise/long.wav", seconds=150, rate=8_000)
    write("noise/short.wav", seconds=3)
    root = tmp_path / "noise"
    write_shards(index_noise(root), [root], tmp_path / "out", what="noise", split="train")
    (bank,) = lap(ShardSet.of([f"{tmp_path}/out/noise-*.tar"], "noise"))
    assert sorted(np.round(63 * bank.chances)) == [3, 20, 20, 20]


def test_what_is_damaged_is_passed_over_and_named(shards):
    one, two, three = sorted(shards.glob("speech-*.tar"))[:3]
    found = members(one)
    keys = [name.removesuffix(".flac") for name in found if name.endswith(".flac")]
    assert len(keys) > 2
    found[f"{keys[0]}.flac"] = b"fLaC"
    found[f"{keys[1]}.flac"] = found[f"{keys[1]}.flac"][:500]  # the header is fine
    found[f"{keys[2]}.json"] = b"{"
    rewrite(one, found)
    with tarfile.open(two) as tar:  # is cut within a member, the other between two of them
        third = [member for member in tar if member.name.endswith(".flac")][2]
    cut = len(members(two)) // 2 - 2
    two.write_bytes(two.read_bytes()[: third.offset_data + 100])
    whole = members(three)
    rewrite(three, dict(list(whole.items())[:-2]))
    speech = speech_of(shards)
    assert len(set(heard(speech))) == PIECES - 3 - cut - 1
    assert set(speech.damaged) == {
        *(f"{one}: {key}" for key in keys[:3]),
        f"{two} (damaged, 2 of its pieces read)",
        f"{three} (damaged, {len(whole) // 2 - 1} of its pieces read)",
    }


def test_when_nothing_can_be_decoded_or_unpacked_the_sentence_is_clean(shards, monkeypatch):
    speech = speech_of(shards)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match="cannot be unpacked in .*free some space"):
            lap(speech)
    for url in speech.urls:
        Path(url).write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(UserError, match=r"^Nothing in the \d shards of speech can be decoded"):
        next(speech.banks("train", [0]))


def test_shards_of_others_serve_and_pickles_stay_closed(tmp_path):
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
    theirs = ShardSet.of([path], "speech")
    (bank,) = lap(theirs)
    assert bank.lengths == pytest.approx(64_000, abs=100)
    sound = bank.samples[bank.starts[0] :][:48_000].numpy()
    peak = np.abs(np.fft.rfft(sound * np.hanning(48_000))).argmax()
    assert peak / 3 == pytest.approx(440, abs=1)
    assert list(theirs.damaged) == [f"{path}: a/2"]
    assert not (tmp_path / "touched").exists()


@pytest.fixture
def address(shards, server, monkeypatch):
    """The shards on a server; what it sends is decided in the tests."""
    monkeypatch.setattr(shard_material, "Transfer", partial(Transfer, sleep=lambda seconds: None))
    for path in shards.iterdir():
        server.add(f"/{path.name}", Page(path.read_bytes()))
    host = f"http://127.0.0.1:{server.server_address[1]}"
    last = sorted(shards.glob("speech-*.tar"))[-1].stem[-6:]
    return f"{host}/speech-train-{{000000..{last}}}.tar"


def test_shards_come_from_a_server_however_the_connection_breaks(address, server):
    for name, page in server.pages.items():
        if name.endswith(".tar"):
            page.cut_at[:] = [5_000, 12_000]
    found = ShardSet.of([address], "speech")
    assert sorted(heard(found)) == list(range(PIECES)) and found.damaged == {}
    assert any(request.range == "bytes=5000-" for request in server.requests)
    del server.pages["/speech-train.json"]
    unknown = ShardSet.of([address], "speech")
    assert unknown.pieces is None and len(heard(unknown)) == PIECES


def test_what_a_server_refuses_is_one_sentence(address, server):
    found = ShardSet.of([address], "speech")
    del server.pages["/speech-train-000000.tar"]
    with pytest.raises(UserError, match=r"speech-train-000000\.tar could not be fetched .*404"):
        lap(found)
    server.pages["/speech-train.json"].status = [403]
    with pytest.raises(UserError, match="train.json cannot be read .*403.*check the address"):
        ShardSet.of([address], "speech")
