"""Files by address: fetched, published whole, and a plain sentence where storage refuses."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from audio_denoising.cleaning.places import Place, TransferError, existing, found, is_address
from audio_denoising.errors import UserError


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """An empty storage behind memory://."""
    storage = fsspec.filesystem("memory")
    storage.store.clear()
    storage.pseudo_dirs[:] = [""]
    yield storage
    storage.store.clear()


def test_what_is_an_address() -> None:
    assert all(map(is_address, ("s3://a/b", "gs://a", "sftp://host/a", "memory://a")))
    assert not any(map(is_address, ("a/b", "/a", "C:\\a", "c://a", "a:b", "talk s3://a")))


def test_there_and_back(memory: MemoryFileSystem, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    place = Place("memory://talks/deep/b.wav")
    place.publish(tmp_path / "a.wav", "tag")
    assert list(memory.store) == ["/talks/deep/b.wav"]  # and no temporary name
    (tmp_path / "in").mkdir()
    copy = place.fetch(tmp_path / "in")
    assert copy == tmp_path / "in" / "b.wav" and copy.read_bytes() == b"sound"
    (tmp_path / "a.wav").write_bytes(b"another")
    place.publish(tmp_path / "a.wav", "tag")
    assert memory.cat("/talks/deep/b.wav") == b"another"


def test_local_files_are_used_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    assert Place(str(tmp_path / "a.wav")).fetch(tmp_path / "none") == tmp_path / "a.wav"
    made = tmp_path / "new" / "b.wav"
    Place(str(made)).publish(tmp_path / "a.wav", "tag")
    made.chmod(0o600)
    Place(str(made)).publish(tmp_path / "a.wav", "tag")
    assert [path.name for path in made.parent.iterdir()] == ["b.wav"]
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


def test_an_upload_that_breaks_leaves_the_former_file(
    memory: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    memory.pipe("/b.wav", b"former")

    def breaking(self: MemoryFileSystem, lpath: str, rpath: str) -> None:
        self.pipe(rpath, b"so")
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", breaking)
        with pytest.raises(TransferError, match=r"memory://b.wav cannot be reached.*: gone"):
            Place("memory://b.wav").publish(tmp_path / "a.wav", "tag")
    assert memory.cat("/b.wav") == b"former"
    Place("memory://b.wav").publish(tmp_path / "a.wav", "tag")
    assert list(memory.store) == ["/b.wav"] and memory.cat("/b.wav") == b"sound"


def test_an_object_store_needs_no_temporary_name(
    memory: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "protocol", ("s3", "memory"))
    monkeypatch.setattr(MemoryFileSystem, "mv", lambda *_: pytest.fail("copies all once more"))
    (tmp_path / "a.wav").write_bytes(b"sound")
    Place("memory://b.wav").publish(tmp_path / "a.wav", "tag")
    assert memory.cat("/b.wav") == b"sound"


@pytest.mark.parametrize(
    ("text", "recursive", "expected"),
    [
        ("memory://talks", False, {"a.wav": "a.wav", "b.MP3": "b.MP3"}),
        (
            "memory://talks/",
            True,
            {"a.wav": "a.wav", "b.MP3": "b.MP3", "deep/c.flac": "deep/c.flac"},
        ),
        ("memory://talks/*.wav", False, {"a.wav": "a.wav"}),
        ("memory://talks/**/*.flac", False, {"deep/c.flac": "deep/c.flac"}),
        ("memory://talks/d*/*", False, {"deep/c.flac": "deep/c.flac"}),
        ("memory://talks/deep/c.flac", False, {"deep/c.flac": "c.flac"}),
        ("memory://talks/missing.wav", False, {"missing.wav": "missing.wav"}),
    ],
)
def test_what_is_found(
    memory: MemoryFileSystem, text: str, recursive: bool, expected: dict[str, str]
) -> None:
    for name in ["a.wav", "b.MP3", "notes.txt", "deep/c.flac", ".hidden.wav", ".cache/d.wav"]:
        memory.pipe(f"/talks/{name}", b"")
    places = {place.text: str(below) for place, below in found(text, recursive)}
    assert places == {f"memory://talks/{name}": below for name, below in expected.items()}


def test_nothing_is_found(memory: MemoryFileSystem) -> None:
    memory.pipe("/talks/notes.txt", b"")
    with pytest.raises(UserError, match=r"no recording in memory://talks \(--recursive takes"):
        list(found("memory://talks", False))
    with pytest.raises(UserError, match=r"no recording in memory://talks/\*.wav"):
        list(found("memory://talks/*.wav", True))


def test_what_exists(memory: MemoryFileSystem, tmp_path: Path) -> None:
    places = [Place(f"memory://out/{name}.wav") for name in ("a", "b", "deep/c")]
    assert existing(places, "memory://out") == set()  # there is no such folder
    memory.pipe("/out/a.wav", b"")
    memory.pipe("/out/deep/c.wav", b"")
    assert existing(places, "memory://out/") == {places[0], places[2]}
    (tmp_path / "a.wav").touch()
    local = [Place(str(tmp_path / name)) for name in ("a.wav", "b.wav")]
    assert existing(local, str(tmp_path)) == {local[0]}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FileNotFoundError("/b.wav"), "memory://b.wav does not exist: check the address"),
        (PermissionError("403"), "memory://b.wav is not yours to use: check your access"),
        (OSError("reset"), r"memory://b.wav cannot be reached \(OSError: reset\)"),
    ],
)
def test_what_storage_refuses(
    error: OSError,
    sentence: str,
    memory: MemoryFileSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(MemoryFileSystem, "get_file", refuse)
    with pytest.raises(UserError, match=sentence) as raised:
        Place("memory://b.wav").fetch(tmp_path)
    assert isinstance(raised.value, TransferError) == (type(error) is OSError)  # tried again


def test_addresses_that_nobody_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing://b/a.wav cannot be opened.*check the address"):
        Place("nothing://b/a.wav").fetch(tmp_path)

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(UserError, match=r"s3://b/a.wav needs a package that is missing.*s3fs"):
        Place("s3://b/a.wav").fetch(tmp_path)
