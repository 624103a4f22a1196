"""Whole corpora: chosen, fetched, verified, unpacked, and left alone when they are there."""

from __future__ import annotations

import hashlib
import io
import random
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from audio_denoising.cli.data import data_app
from audio_denoising.corpora.catalogue import CORPORA, Archive, Corpus
from audio_denoising.corpora.download import choose, download, room_needed, unpack
from audio_denoising.corpora.transfer import TransferDisplay
from audio_denoising.errors import UserError
from tests.misbehaving_server import Page

Member = tuple[tarfile.TarInfo, bytes]


def file(name: str, size: int = 20_000) -> Member:
    member = tarfile.TarInfo(name)
    member.size = size
    return member, random.Random(name).randbytes(size)


def packed(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def corpora(server, monkeypatch: pytest.MonkeyPatch) -> dict[str, Corpus]:
    """The two corpora with archives of a few recordings, served from here."""
    speech = [f"LibriSpeech/dev-clean/1/2/1-2-{n}.flac" for n in range(4)]
    noise = [f"UrbanSound8K/audio/fold{n}/{n}-1-0-0.wav" for n in range(1, 11)]
    small = {}
    for key, name, recordings, others in (
        ("librispeech", "dev-clean", speech, ["LibriSpeech/README.TXT"]),
        ("urbansound8k", "UrbanSound8K", noise, ["UrbanSound8K/audio/.DS_Store"]),
    ):
        content = packed(*map(file, others + recordings))
        archive = replace(
            CORPORA[key].archives[name],
            urls=(server.add(f"/{name}", Page(content)),),
            size=len(content),
            unpacked=2 * len(content),
            md5=hashlib.md5(content).hexdigest(),
            recordings=len(recordings),
        )
        small[key] = replace(CORPORA[key], archives={name: archive}, usual=(name,))
    monkeypatch.setattr("audio_denoising.corpora.download.CORPORA", small)
    return small


@pytest.fixture
def archives(corpora) -> list[Archive]:
    return choose("all")[1]


def invoke(*arguments: str):
    app = typer.Typer()
    app.add_typer(data_app, name="data")
    return CliRunner().invoke(app, ["data", "download", *arguments])


def test_the_command_fetches_everything_and_prints_the_licences(
    server, corpora, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    result = invoke("--root", str(root))
    assert result.exit_code == 0, result.output
    for text in ("CC BY 4.0", "CC BY-NC 3.0", "NON-COMMERCIAL USE ONLY"):
        assert text in result.output
    assert "To fetch: dev-clean, UrbanSound8K, 0.00 GB in all" in result.output
    for folder in ("LibriSpeech/dev-clean", "noise_datasets/UrbanSound8K"):
        assert str(root / folder) in result.output
    audio = root / "noise_datasets/UrbanSound8K/audio"
    assert {p.name for p in audio.glob("fold*")} == {f"fold{n}" for n in range(1, 11)}
    assert len(list((root / "LibriSpeech/dev-clean").rglob("*.flac"))) == 4
    assert {p.name for p in root.iterdir()} == {"LibriSpeech", "noise_datasets"}
    assert {p.name for p in (root / "LibriSpeech").iterdir()} == {"README.TXT", "dev-clean"}

    again = invoke("librispeech", "--subset", "dev-clean", "--root", str(root))
    assert again.exit_code == 0
    assert again.output.count("complete already, nothing to fetch") == 1
    assert "CC BY 4.0" in again.output and "CC BY-NC" not in again.output
    assert [request.path for request in server.requests] == ["/dev-clean", "/UrbanSound8K"]


def test_ctrl_c_in_the_command_says_how_to_go_on(
    corpora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: TransferDisplay, done: int) -> None:
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr(TransferDisplay, "reach", stop)
    result = invoke("librispeech", "--root", str(tmp_path))
    assert result.exit_code != 0
    assert "the same command continues" in result.output
    part = tmp_path / "archives" / "dev-clean.tar.gz.part"
    assert part.stat().st_size > 0
    archive = corpora["librispeech"].archives["dev-clean"]
    left = archive.size - part.stat().st_size  # what has arrived needs no room again
    assert room_needed([archive], tmp_path) == left + archive.unpacked


def test_a_wrong_checksum_is_fetched_once_more(server, archives, tmp_path: Path) -> None:
    archive = archives[0]
    damaged = bytearray(server.pages["/dev-clean"].content)
    damaged[len(damaged) // 2] ^= 1
    bad = server.add("/bad", Page(bytes(damaged)))
    download([replace(archive, urls=(bad, *archive.urls))], tmp_path)
    assert [r.path for r in server.requests] == ["/bad", "/dev-clean"]
    assert len(list((tmp_path / archive.folder).rglob("*.flac"))) == 4
    wrong = replace(archives[1], md5="0" * 32)
    with pytest.raises(UserError, match="wrong checksum .* nothing was unpacked"):
        download([wrong], tmp_path)
    assert not (tmp_path / "archives").exists()
    assert not (tmp_path / wrong.folder).exists()


def test_a_file_that_changed_meanwhile_is_fetched_afresh(server, archives, tmp_path: Path) -> None:
    archive = archives[0]
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "dev-clean.tar.gz.part").write_bytes(bytes(1000))
    download([archive], tmp_path)
    assert [request.range for request in server.requests] == ["bytes=1000-", None]
    assert len(list((tmp_path / archive.folder).rglob("*.flac"))) == 4


def test_a_root_without_room_or_that_cannot_be_written_is_noticed_before_the_first_byte(
    server, archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match="archives cannot be written .* name another folder"):
        download(archives, tmp_path / "file")
    usage, needed = shutil.disk_usage(tmp_path), room_needed(archives, tmp_path)
    speech, noise = archives
    assert needed == speech.unpacked + noise.size + noise.unpacked
    short = usage._replace(free=needed - 1)
    monkeypatch.setattr("audio_denoising.corpora.download.shutil.disk_usage", lambda _: short)
    with pytest.raises(UserError, match="GB of room .* are free"):
        download(archives, tmp_path / "new" / "data")
    assert server.requests == []
    assert not (tmp_path / "new").exists()


def test_an_incomplete_folder_is_not_touched(server, archives, tmp_path: Path) -> None:
    mine = tmp_path / archives[0].folder / "1" / "mine.flac"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    (mine.parent / "._mine.flac").write_bytes(b"")  # what a Mac leaves beside it is no recording
    with pytest.raises(UserError, match="holds 1 of the 4 recordings .* move it away"):
        download(archives, tmp_path)
    assert server.requests == []
    assert mine.read_bytes() == b"mine"
    shutil.rmtree(mine.parent)  # an empty folder is in nobody's way
    download(archives[:1], tmp_path)


def test_names_are_chosen_or_refused_in_one_sentence() -> None:
    names = [a.name for a in choose("all", ["test-clean", "dev-clean", "test-clean"])[1]]
    assert names == ["test-clean", "dev-clean", "UrbanSound8K"]
    usual = [a.name for a in choose("librispeech")[1]]
    assert usual == ["train-clean-100", "dev-clean", "test-clean"]
    with pytest.raises(UserError, match="no subset 'dev'; choose from train-clean-100"):
        choose("all", ["dev"])
    with pytest.raises(UserError, match="leave --subset out"):
        choose("urbansound8k", ["dev-clean"])


# Unpacking: what could hurt is refused before it touches the disk


def below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def unpacked(tmp_path: Path, content: bytes) -> Path:
    """Where the folder "corpus" of an archive arrives."""
    (tmp_path / "a.tar.gz").write_bytes(content)
    unpack(tmp_path / "a.tar.gz", "corpus", tmp_path / "in" / "out", TransferDisplay())
    return tmp_path / "in" / "out"


def test_what_is_sound_arrives_unchanged(tmp_path: Path) -> None:
    program, content = file("corpus/run.sh")
    program.mode = 0o6777
    members = [file("corpus/1/a.flac", 3_000_000), (program, content), file("README"), file("/b")]
    out = unpacked(tmp_path, packed(*members))
    assert below(tmp_path) == {"a.tar.gz", "in/out/1/a.flac", "in/out/run.sh"}
    assert (out / "1/a.flac").read_bytes() == members[0][1]
    assert (out / "run.sh").stat().st_mode & 0o7022 == 0  # dangerous bits are ignored


KINDS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]


@pytest.mark.parametrize("evil", ["../../evil", "corpus/../../../evil", *KINDS])
def test_links_and_paths_out_of_the_folder_and_devices_are_refused(
    evil: str | bytes, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    if isinstance(evil, str):
        member = file(evil)
    else:  # a link out of the folder first, then a file written through it
        member = tarfile.TarInfo("corpus/door"), b""
        member[0].type, member[0].linkname = evil, str(tmp_path)
    archive = packed(file("corpus/a.wav"), member, file("corpus/door/secret"))
    with pytest.raises(UserError, match="what no audio corpus needs"):
        unpacked(tmp_path, archive)
    assert secret.read_text() == "untouched"
    assert below(tmp_path) == {"a.tar.gz", "secret"}


def test_what_cannot_be_unpacked_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = packed(file("corpus/a.wav"))
    for wrong in (good[:-2000], b"<html>", b""):
        with pytest.raises(UserError, match="not a sound"):
            unpacked(tmp_path, wrong)
    with pytest.raises(UserError, match="holds no folder corpus"):
        unpacked(tmp_path, packed(file("corpse/a.wav")))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extract", full)
        with pytest.raises(UserError, match="No space left on device.*run again"):
            unpacked(tmp_path, good)
    assert below(tmp_path) == {"a.tar.gz"}
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(UserError, match="update it to 3.10.12"):
        unpacked(tmp_path, good)
