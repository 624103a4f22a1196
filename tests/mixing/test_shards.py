"""Training from shards: which are meant, what is visited, and what happens to bad ones."""

from __future__ import annotations

import io
import json
import multiprocessing
import pickle
import shutil
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audio_denoising.corpora.corpus import Recording, index_noise, index_speech
from audio_denoising.errors import UserError
from audio_denoising.mixing import shard_opening
from audio_denoising.mixing.augment import PRESETS
from audio_denoising.mixing.mixtures import make_mixtures
from audio_denoising.mixing.shard_reading import ShardMixtures
from audio_denoising.mixing.shard_writing import write_shards
from audio_denoising.mixing.shards import find_shards, is_shards, require_apart, sibling
from tests.misbehaving_server import Page

pytest.importorskip("webdataset")

SEGMENT = 40_800
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


def mixtures(folder: object, **options: object) -> ShardMixtures:
    sets = (find_shards(f"{folder}/{what}-train-*.tar", what) for what in ("speech", "noise"))
    return ShardMixtures(*sets, **{"seed": 5, **options})


def collect(source: ShardMixtures, **options: object) -> list[tuple[bytes, ...]]:
    return [
        tuple(part.numpy().tobytes() for part in batch)
        for batch in source.batches(**{"epoch": 3, "batch_size": 2, **options})
    ]


def heard(source: ShardMixtures, **options: object) -> list[int]:
    """The numbers of the recordings that an epoch consists of."""
    options = {"epoch": 0, "batch_size": 1, **options}
    return [round(float(speech.max()) * 100) - 1 for speech, _, _ in source.batches(**options)]


def rewrite(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shards/a-{000..009}.tar", True),
        ("a.tar.gz", True),
        ("https://host/a-{0..9}.tar?key=1", True),
        ("pipe:cat a.tar", True),  # so that it is refused for what it is
        ("data/LibriSpeech", False),
        ("data/tar", False),
    ],
)
def test_shards_are_told_from_folders(text, expected):
    assert is_shards(text) is expected


@pytest.mark.parametrize("spec", ["pipe:touch {}", "pipe:touch {}; cat x.tar", "-", "s3://b/x.tar"])
def test_nothing_is_run_or_opened_but_paths_and_web_addresses(spec, tmp_path):
    with pytest.raises(UserError, match="is not opened.*--speech takes paths and http"):
        find_shards(spec.format(tmp_path / "touched"), "speech")
    assert not (tmp_path / "touched").exists()


def test_an_index_cannot_name_other_places(shards):
    index = shards / "speech-train.json"
    text = index.read_text()
    for name in ("pipe:touch x-0.tar", "../x-0.tar", "/etc/x-0.tar"):
        index.write_text(text.replace("speech-train-000000.tar", name))
        with pytest.raises(UserError, match="is no index of shards"):
            find_shards(f"{shards}/speech-train-000001.tar", "speech")


def test_braces_stars_lists_and_single_files(shards):
    names = sorted(path.name for path in shards.glob("speech-*.tar"))
    last = names[-1].removesuffix(".tar")[-6:]
    assert len(names) > 2
    for spec in (
        f"{shards}/speech-train-{{000000..{last}}}.tar",
        f"{shards}/speech-train-*.tar",
        [str(shards / name) for name in names],
    ):
        found = find_shards(spec, "speech")
        assert [Path(url).name for url in found.urls] == names
        assert found.pieces == PIECES
        assert found.groups == {"speaker/s0", "speaker/s1", "speaker/s2"}
    one = find_shards(str(shards / names[0]), "speech")
    assert 0 < one.pieces < PIECES


def test_what_is_not_there_is_said(shards, tmp_path):
    with pytest.raises(UserError, match=r"train-00000\d\.tar does not exist \(\d of 8 shards"):
        find_shards(f"{shards}/speech-train-{{000000..000007}}.tar", "speech")
    with pytest.raises(UserError, match="No file matches"):
        find_shards(f"{tmp_path}/*.tar", "speech")
    with pytest.raises(UserError, match="give these shards to --speech"):
        find_shards(f"{shards}/speech-train-*.tar", "noise")
    with pytest.raises(UserError, match="no .*speech-validation.json: write it with.*validation"):
        sibling(find_shards(f"{shards}/speech-train-*.tar", "speech"), "validation")
    (shards / "speech-train.json").write_text("{")
    with pytest.raises(UserError, match="is no index of shards, or it is damaged"):
        find_shards(f"{shards}/speech-train-*.tar", "speech")
    (shards / "speech-train.json").unlink()
    with pytest.raises(UserError, match="--epoch-size"):
        mixtures(shards)
    assert len(collect(mixtures(shards, epoch_size=4))) == 2


def test_batches_are_those_of_folders_in_form(shards):
    source = mixtures(shards, epoch_size=5)
    kept = list(source.batches(epoch=0, batch_size=2, drop_last=False))
    assert [tuple(batch.speech.shape) for batch in kept] == [
        (2, SEGMENT),
        (2, SEGMENT),
        (1, SEGMENT),
    ]
    assert len(list(source.batches(epoch=0, batch_size=2))) == 2
    assert kept[0].noise.dtype == torch.float32
    clean, noisy = make_mixtures(kept[0])
    ratios = 10 * torch.log10(clean.square().mean(1) / (noisy - clean).square().mean(1))
    torch.testing.assert_close(ratios, kept[0].recipe[:, 0].float(), atol=1e-3, rtol=0)
    assert all(0 <= ratio <= 15 for ratio in ratios)


def test_an_epoch_visits_every_piece_once_in_an_order_of_its_own(shards):
    source = mixtures(shards)
    first, second = heard(source), heard(source, epoch=1)
    assert sorted(first) == sorted(second) == list(range(PIECES))
    assert first != second
    assert heard(source) == first
    assert heard(mixtures(shards, seed=6)) != first
    twice = heard(mixtures(shards, epoch_size=2 * PIECES))
    assert Counter(twice) == Counter(2 * list(range(PIECES)))
    assert source.damaged == []


def test_batches_depend_on_seed_epoch_and_the_number_of_workers_alone(shards):
    source = mixtures(shards, augmentation=PRESETS["varied"])
    alone = collect(source)
    assert len(alone) == PIECES // 2
    assert collect(source, workers=1) == alone
    two = collect(source, workers=2)
    assert collect(mixtures(shards, augmentation=PRESETS["varied"]), workers=2) == two
    assert two != alone
    assert collect(source, epoch=4) != alone


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_resumed(shards, workers):
    whole = collect(mixtures(shards), workers=workers)
    for start in (1, 4, len(whole)):
        assert collect(mixtures(shards), workers=workers, start_batch=start) == whole[start:]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_divide_the_speech_and_are_no_more_than_there_are_shards(shards):
    assert len(collect(mixtures(shards), workers=9)) == PIECES // 2
    short = mixtures(shards, epoch_size=6)
    found = heard(short, workers=2)
    assert len(set(found)) == 6  # no recording comes from both


def test_ranks_divide_the_speech(shards):
    found = []
    for rank in range(2):
        source = mixtures(shards, rank=rank, ranks=2)
        assert len(source) == PIECES // 2
        found.append(set(heard(source)))
    assert not found[0] & found[1]
    with pytest.raises(UserError, match="cannot be divided among 9 ranks"):
        mixtures(shards, ranks=9)


def test_batches_leave_the_global_random_states_alone(shards):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    collect(mixtures(shards), workers=1)
    assert torch.equal(torch.rand(1), expected)


def test_noise_is_drawn_by_length(write, tmp_path):
    write("speech/x.wav", seconds=3)
    write("noise/long.wav", samples=np.full(27 * 16_000, 0.1))
    write("noise/short.wav", samples=np.full(3 * 16_000, -0.1))
    for what, index in (("speech", index_speech), ("noise", index_noise)):
        root = tmp_path / what
        write_shards(index(root), [root], tmp_path / "out", what=what, split="train")
    found = mixtures(tmp_path / "out", epoch_size=100).batches(epoch=0, batch_size=1)
    long = sum(float(batch.noise.mean()) > 0 for batch in found)
    assert 80 <= long <= 99  # nine seconds out of ten


@pytest.mark.parametrize("workers", [0, 2])
def test_a_member_that_cannot_be_decoded_is_skipped_and_named(shards, workers):
    path = sorted(shards.glob("speech-*.tar"))[1]
    found = contents(path)
    keys = [name.removesuffix(".flac") for name in found if name.endswith(".flac")]
    assert len(keys) > 2
    found[f"{keys[0]}.flac"] = b"fLaC"
    found[f"{keys[1]}.flac"] = found[f"{keys[1]}.flac"][:500]  # the header is fine
    found[f"{keys[2]}.json"] = b"{"
    rewrite(path, found)
    source = mixtures(shards)
    assert len(set(heard(source, workers=workers))) == PIECES - 3
    assert set(source.damaged) == {f"{path}: {key}" for key in keys[:3]}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_shard_gives_what_it_has(shards, workers):
    path = sorted(shards.glob("speech-*.tar"))[0]
    with tarfile.open(path) as tar:
        third = [member for member in tar if member.name.endswith(".flac")][2]
        count = len(tar.getnames()) // 2
    path.write_bytes(path.read_bytes()[: third.offset_data + 100])
    source = mixtures(shards)
    assert len(set(heard(source, workers=workers))) == PIECES - count + 1
    assert source.damaged == [f"{path} (damaged, 1 of its pieces read)"]


def test_a_shard_that_ends_between_two_members_is_noticed(shards):
    path = sorted(shards.glob("speech-*.tar"))[0]
    found = contents(path)
    count = find_shards(str(path), "speech").pieces
    rewrite(path, dict(list(found.items())[:-2]))
    source = mixtures(shards)
    assert len(set(heard(source))) == PIECES - 1
    assert source.damaged == [f"{path} (ends after {count - 1} of {count} pieces)"]


@pytest.mark.parametrize("workers", [0, 1])
def test_when_nothing_can_be_decoded_the_sentence_is_clean(shards, workers):
    for path in shards.glob("noise-*.tar"):
        path.write_bytes(b"<html>not found</html>" * 100)
    sentence = r"^Nothing in the \d shards of noise can be decoded \(.*noise.*tar.*copy them again$"
    with pytest.raises(UserError, match=sentence) as caught:
        collect(mixtures(shards), workers=workers)
    assert caught.value.__context__ is None
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("split", ["test", "validation"])
def test_no_other_split_is_trained_on(shards, split, write, tmp_path):
    write("held/x/1.wav", seconds=3)
    held = index_speech(tmp_path / "held")
    write_shards(held, [tmp_path / "held"], tmp_path / "out", what="speech", split=split)
    speech = find_shards(f"{tmp_path}/out/*.tar", "speech")
    noise = find_shards(f"{shards}/noise-*.tar", "noise")
    with pytest.raises(UserError, match=f"hold the {split} split"):
        ShardMixtures(speech, noise)
    with pytest.raises(UserError, match=f"hold the {split} split: give those of the train split"):
        sibling(speech, split)
    # Renamed, and without an index, every piece still tells.
    hidden = shutil.copy(speech.urls[0], shards / "speech-train-000099.tar")
    speech = find_shards(str(hidden), "speech")
    with pytest.raises(UserError, match=f"recordings of the {split} split"):
        collect(ShardMixtures(speech, noise, epoch_size=2))
    if split == "validation":
        noise_held = index_noise(tmp_path / "noise")
        write_shards(noise_held, [tmp_path / "noise"], tmp_path / "out", what="noise", split=split)
        sets = [find_shards(f"{tmp_path}/out/{w}-*.tar", w) for w in ("speech", "noise")]
        assert len(collect(ShardMixtures(*sets, epoch_size=4, split=split))) == 2
        with pytest.raises(UserError, match="in the shards of both splits"):
            require_apart(noise, sets[1])


def test_shards_of_others_serve_and_pickles_stay_closed(shards, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    sound = io.BytesIO()
    time = np.arange(44_100 * 4) / 44_100
    soundfile.write(sound, 0.3 * np.sin(2 * np.pi * 440 * time), 44_100, format="WAV")
    path = tmp_path / "theirs.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (
            ("a/1.wav", sound.getvalue()),
            ("a/1.pyd", pickle.dumps(Trap())),
            ("a/1.pickle", pickle.dumps(Trap())),
            ("a/2.txt", b"no audio"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    noise = find_shards(f"{shards}/noise-*.tar", "noise")
    source = ShardMixtures(find_shards(str(path), "speech"), noise, epoch_size=2)
    (batch,) = source.batches(epoch=0, batch_size=2)
    spectrum = torch.fft.rfft(batch.speech[0] * torch.hann_window(SEGMENT)).abs()
    assert float(spectrum.argmax()) * 16_000 / SEGMENT == pytest.approx(440, abs=1)
    assert source.damaged == [f"{path}: a/2"]
    assert not (tmp_path / "touched").exists()


def test_a_missing_library_is_named(shards, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset", None)
    monkeypatch.setitem(sys.modules, "webdataset.utils", None)
    with pytest.raises(UserError, match="pip install webdataset"):
        mixtures(shards)
    with pytest.raises(UserError, match="pip install webdataset"):
        recording = Recording(shards / "x", "x", 1, 16_000)
        write_shards([recording], [shards], shards, what="speech", split="train")


@pytest.fixture
def address(shards, server, monkeypatch):
    """The shards on a server; what it sends is decided in the tests."""
    monkeypatch.setattr(shard_opening, "_PAUSE", 0.0)
    for path in shards.iterdir():
        server.add(f"/{path.name}", Page(path.read_bytes()))
    names = sorted(path.name for path in shards.glob("speech-*.tar"))
    last = names[-1].removesuffix(".tar")[-6:]
    host = f"http://127.0.0.1:{server.server_address[1]}"
    return f"{host}/speech-train-{{000000..{last}}}.tar", f"{host}/noise-train-000000.tar"


def remote(address: tuple[str, str], **options: object) -> ShardMixtures:
    speech, noise = address
    found = find_shards(speech, "speech"), find_shards(noise, "noise")
    return ShardMixtures(*found, **{"seed": 5, **options})


@pytest.mark.parametrize("workers", [0, 2])
def test_a_server_gives_what_the_files_give(address, server, workers):
    expected = heard(remote(address))
    for page in server.pages.values():
        page.cut_at = [len(page.content) * 2 // 5]
        page.status = [503]
    source = remote(address)
    assert source.speech.pieces == PIECES
    found = heard(source, workers=workers)
    assert sorted(found) == list(range(PIECES))
    if workers == 0:
        assert found == expected
    assert source.damaged == []


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (404, r"^http.*noise-train-000000\.tar does not exist \(the server answers 404\): check"),
        (500, r"^http.*noise-train-000000\.tar cannot be read.*attempts in a row failed"),
    ],
)
def test_what_a_server_refuses_ends_with_one_sentence(address, server, workers, status, sentence):
    source = remote(address)
    server.pages["/noise-train-000000.tar"].status = [status] * 20
    with pytest.raises(UserError, match=sentence) as caught:
        collect(source, workers=workers)
    assert type(caught.value) is UserError
    assert not multiprocessing.active_children()


def test_the_index_on_a_server_may_be_missing_or_wrong(address, server):
    del server.pages["/speech-train.json"]
    assert find_shards(address[0], "speech").pieces is None
    server.add("/speech-train.json", Page(json.dumps({"what": "cats"}).encode()))
    with pytest.raises(UserError, match="speech-train.json is no index of shards"):
        find_shards(address[0], "speech")
