"""Unpacking: what is well-formed arrives, what could hurt is refused before it touches the disk."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from audio_denoising.corpora.archives import unpack, unpack_folder
from audio_denoising.corpora.watching import Watcher
from audio_denoising.errors import UserError

Member = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: bytes = b"sound") -> Member:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def special(name: str, kind: bytes, target: str = "") -> Member:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def pack(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return path


def everything_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_files_and_folders_arrive_unchanged(tmp_path: Path) -> None:
    archive = pack(
        tmp_path / "a.tar.gz",
        special("corpus", tarfile.DIRTYPE),
        file("corpus/1/a.flac", b"a" * 3_000_000),
        file("./corpus/README", b""),
    )
    unpack(archive, tmp_path / "out")
    assert everything_below(tmp_path / "out") == {
        "corpus",
        "corpus/1",
        "corpus/1/a.flac",
        "corpus/README",
    }
    assert (tmp_path / "out/corpus/1/a.flac").read_bytes() == b"a" * 3_000_000


def test_dangerous_mode_bits_of_the_archive_are_ignored(tmp_path: Path) -> None:
    member, content = file("run.sh")
    member.mode = 0o6777
    unpack(pack(tmp_path / "a.tar.gz", (member, content)), tmp_path / "out")
    assert (tmp_path / "out/run.sh").stat().st_mode & 0o7022 == 0


@pytest.mark.parametrize("name", ["../evil", "corpus/../../evil", ".."])
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "a.tar.gz", file("good.wav"), file(name))
    with pytest.raises(UserError, match="outside the destination"):
        unpack(archive, tmp_path / "in" / "out")
    assert everything_below(tmp_path) == {"a.tar.gz", "in", "in/out", "in/out/good.wav"}


@pytest.mark.parametrize("name", ["/evil", "//evil", "..\\evil", "C:\\evil", "C:evil"])
def test_names_that_leave_a_folder_elsewhere_stay_in_it(tmp_path: Path, name: str) -> None:
    unpack(pack(tmp_path / "a.tar.gz", file(name)), tmp_path / "in" / "out")
    (made,) = (path for path in tmp_path.rglob("*evil*"))
    assert made.parent == tmp_path / "in" / "out"


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_out_of_the_folder_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    # The classic: a link out of the folder first, then a file written through it.
    archive = pack(
        tmp_path / "a.tar.gz", special("door", kind, str(tmp_path)), file("door/secret", b"gone")
    )
    with pytest.raises(UserError, match="what no audio corpus needs"):
        unpack(archive, tmp_path / "out")
    assert secret.read_text() == "untouched"
    assert everything_below(tmp_path / "out") == set()


def test_an_old_python_is_told_to_be_updated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(UserError, match="update it to 3.10.12"):
        unpack(pack(tmp_path / "a.tar.gz", file("a.wav")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_archive_is_one_sentence(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", file("a.wav", bytes(range(256)) * 40))
    whole = archive.read_bytes()
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # in the checksum at the end of a gzip file
    for wrong in (whole[:-20], bytes(flipped), b"<html>", gzip.compress(b"no tar" * 200), b""):
        archive.write_bytes(wrong)
        with pytest.raises(UserError, match="not a sound"):
            unpack(archive, tmp_path / "out")


def test_a_folder_appears_whole_with_its_companions(tmp_path: Path) -> None:
    archive = pack(
        tmp_path / "a.tar.gz",
        file("LibriSpeech/SPEAKERS.TXT"),
        file("LibriSpeech/dev/1/a.flac"),
        file("elsewhere/b.flac"),
    )
    destination = tmp_path / "data" / "LibriSpeech" / "dev"
    killed = destination.parent / ".dev.unpacking"
    (killed / "LibriSpeech" / "dev" / "half").mkdir(parents=True)
    unpack_folder(archive, "LibriSpeech/dev", destination)
    assert everything_below(tmp_path / "data") == {
        "LibriSpeech",
        "LibriSpeech/SPEAKERS.TXT",
        "LibriSpeech/dev",
        "LibriSpeech/dev/1",
        "LibriSpeech/dev/1/a.flac",
    }


def test_nothing_is_left_after_a_refusal_or_an_interruption(tmp_path: Path) -> None:
    class Impatient(Watcher):
        def advance(self, done: int) -> None:
            raise KeyboardInterrupt

    destination = tmp_path / "data" / "corpus"
    bad = pack(tmp_path / "bad.tar.gz", file("corpus/a.wav"), file("../evil"))
    with pytest.raises(UserError):
        unpack_folder(bad, "corpus", destination)
    good = pack(tmp_path / "good.tar.gz", file("corpus/a.wav"))
    with pytest.raises(KeyboardInterrupt):
        unpack_folder(good, "corpus", destination, Impatient())
    with pytest.raises(UserError, match="holds no folder"):
        unpack_folder(good, "corpse", destination)
    assert everything_below(tmp_path / "data") == set()


def test_a_full_disk_while_unpacking_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    archive = pack(tmp_path / "a.tar.gz", file("corpus/a.wav"))
    monkeypatch.setattr(tarfile.TarFile, "extract", full)
    destination = tmp_path / "data" / "corpus"
    with pytest.raises(UserError, match="No space left on device.*run again"):
        unpack_folder(archive, "corpus", destination)
    assert everything_below(tmp_path / "data") == set()
