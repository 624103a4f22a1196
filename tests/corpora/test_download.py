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
from rich.console import Console
from typer.testing import CliRunner

from audio_denoising.cli.data import data_app
from audio_denoising.corpora.catalogue import CORPORA, Archive, Corpus
from audio_denoising.corpora.download import choose, download, room_needed
from audio_denoising.corpora.transfer_display import TransferDisplay
from audio_denoising.corpora.watching import Watcher
from audio_denoising.errors import UserError
from tests.misbehaving_server import Page


def packed(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 20_000
            archive.addfile(member, io.BytesIO(random.Random(name).randbytes(member.size)))
    return buffer.getvalue()


@pytest.fixture
def corpora(server, monkeypatch: pytest.MonkeyPatch) -> dict[str, Corpus]:
    """The two corpora with archives of a few recordings, served from here."""
    contents = {
        "dev-clean": packed(
            "LibriSpeech/README.TXT",
            *(f"LibriSpeech/dev-clean/1/2/1-2-{n}.flac" for n in range(4)),
        ),
        "UrbanSound8K": packed(
            "UrbanSound8K/metadata/UrbanSound8K.csv",
            "UrbanSound8K/audio/.DS_Store",
            *(f"UrbanSound8K/audio/fold{n}/{n}-1-0-0.wav" for n in range(1, 11)),
        ),
    }
    small = {}
    for key, name, recordings in (
        ("librispeech", "dev-clean", 4),
        ("urbansound8k", "UrbanSound8K", 10),
    ):
        content = contents[name]
        archive = replace(
            CORPORA[key].archives[name],
            urls=(server.add(f"/{name}", Page(content)),),
            size=len(content),
            unpacked=2 * len(content),
            md5=hashlib.md5(content).hexdigest(),
            recordings=recordings,
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

    requests = len(server.requests)
    again = invoke("--root", str(root))
    assert again.exit_code == 0
    assert again.output.count("complete already, nothing to fetch") == 2
    assert "NON-COMMERCIAL" in again.output
    assert len(server.requests) == requests == 2


def test_one_corpus_and_one_subset_may_be_chosen(server, corpora, tmp_path: Path) -> None:
    result = invoke("librispeech", "--subset", "dev-clean", "--root", str(tmp_path))
    assert result.exit_code == 0
    assert [r.path for r in server.requests] == ["/dev-clean"]
    assert "CC BY-NC" not in result.output


def test_ctrl_c_in_the_command_says_how_to_go_on(
    server, corpora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: TransferDisplay, done: int) -> None:
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr(TransferDisplay, "advance", stop)
    result = invoke("librispeech", "--root", str(tmp_path))
    assert result.exit_code != 0
    assert "the same command continues" in result.output
    assert (tmp_path / "archives" / "dev-clean.tar.gz.part").stat().st_size > 0


def test_a_wrong_checksum_is_fetched_once_more(
    server, archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archives[0]
    damaged = bytearray(server.pages["/dev-clean"].content)
    damaged[len(damaged) // 2] ^= 1
    bad = server.add("/bad", Page(bytes(damaged)))
    said: list[str] = []
    watcher = Watcher()
    monkeypatch.setattr(watcher, "say", said.append)
    download([replace(archive, urls=(bad, *archive.urls))], tmp_path, watcher)
    assert [r.path for r in server.requests] == ["/bad", "/dev-clean"]
    assert any("wrong checksum" in line for line in said)
    assert len(list((tmp_path / archive.folder).rglob("*.flac"))) == 4


def test_a_checksum_wrong_twice_is_one_sentence(server, archives, tmp_path: Path) -> None:
    archive = replace(archives[0], md5="0" * 32)
    with pytest.raises(UserError, match="wrong checksum .* nothing was unpacked"):
        download([archive], tmp_path)
    assert len(server.requests) == 2
    assert not (tmp_path / "archives").exists()
    assert not (tmp_path / archive.folder).exists()


def test_two_runs_do_not_work_in_one_folder(archives, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")

    class Second(Watcher):
        def begin(self, label: str, total: int, done: int = 0) -> None:
            if label.startswith("Unpacking"):
                download(archives, tmp_path)

    with pytest.raises(UserError, match="Another run is at work in .*archives"):
        download(archives, tmp_path, Second())
    download(archives, tmp_path)


def test_a_root_that_cannot_be_written_is_one_sentence(archives, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserError, match="archives cannot be written .* name another folder"):
        download(archives, tmp_path / "data")


def test_an_archive_put_there_by_hand_is_used(server, archives, tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    content = server.pages["/dev-clean"].content
    (tmp_path / "archives" / "dev-clean.tar.gz").write_bytes(content)
    download(archives[:1], tmp_path)
    assert server.requests == []
    assert (tmp_path / archives[0].folder).is_dir()


def test_a_full_disk_is_noticed_before_the_first_byte(
    server, archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    needed = room_needed(archives, tmp_path)
    speech, noise = archives
    assert needed == speech.unpacked + noise.size + noise.unpacked
    for free, enough in ((needed - 1, False), (needed, True)):
        monkeypatch.setattr(
            "audio_denoising.corpora.download.shutil.disk_usage",
            lambda _, free=free: usage._replace(free=free),
        )
        if enough:
            download(archives, tmp_path / "new" / "data")
        else:
            with pytest.raises(UserError, match="GB of room .* are free"):
                download(archives, tmp_path / "new" / "data")
            assert server.requests == []
            assert not (tmp_path / "new").exists()


def test_what_has_arrived_needs_no_room_again(archives, tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "dev-clean.tar.gz.part").write_bytes(bytes(1000))
    archive = archives[0]
    assert room_needed([archive], tmp_path) == archive.size - 1000 + archive.unpacked


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


def test_a_hostile_archive_leaves_nothing(server, archives, tmp_path: Path) -> None:
    content = packed("LibriSpeech/dev-clean/1.flac", "../../evil.flac")
    archive = replace(
        archives[0],
        urls=(server.add("/evil", Page(content)),),
        size=len(content),
        md5=hashlib.md5(content).hexdigest(),
    )
    with pytest.raises(UserError, match="which is outside the destination"):
        download([archive], tmp_path / "data")
    assert [p.name for p in tmp_path.rglob("*.flac")] == []


def test_unknown_names_are_one_sentence() -> None:
    with pytest.raises(UserError, match="no corpus 'libri'; choose librispeech, urbansound8k"):
        choose("libri")
    with pytest.raises(UserError, match="no subset 'dev'; choose from train-clean-100"):
        choose("all", ["dev"])
    with pytest.raises(UserError, match="leave --subset out"):
        choose("urbansound8k", ["dev-clean"])


def test_subsets_are_fetched_once_each_in_the_order_given() -> None:
    names = [a.name for a in choose("all", ["test-clean", "dev-clean", "test-clean"])[1]]
    assert names == ["test-clean", "dev-clean", "UrbanSound8K"]
    usual = [a.name for a in choose("librispeech")[1]]
    assert usual == ["train-clean-100", "dev-clean", "test-clean"]


def test_the_catalogue_is_well_formed() -> None:
    archives = [a for corpus in CORPORA.values() for a in corpus.archives.values()]
    assert len(archives) == 8
    assert len({a.md5 for a in archives}) == len({a.folder for a in archives}) == 8
    for archive in archives:
        assert len(archive.md5) == 32 and int(archive.md5, 16)
        assert archive.unpacked > archive.size > 0
        for url in archive.urls:
            assert url.startswith("https://")
            assert archive.file_name in url


def test_the_bar_shows_rate_and_time_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, highlight=False)
    clock = iter(range(100))
    with TransferDisplay(console) as display:
        display.begin("Fetching a.tar.gz", 4_000_000, 1_000_000)
        display.progress.get_time = lambda: float(next(clock))
        for done in (1_500_000, 2_000_000, 2_500_000):
            display.advance(done)
        display.say("[literally] this")
        display.progress.refresh()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Fetching a.tar.gz" in shown
    assert "500.0 kB/s" in shown  # the megabyte of an earlier run is not in the rate
    assert "0:00:03" in shown
    assert "[literally] this" in shown
