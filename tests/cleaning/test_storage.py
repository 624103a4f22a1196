"""Files by address: found, planned, fetched, published whole, and plain words where it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from audio_denoising.cleaning.settings import Job
from audio_denoising.cleaning.storage import (
    TransferError,
    found,
    is_address,
    opened,
    pending,
    plan,
    publish,
)
from audio_denoising.errors import UserError


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """An empty storage behind memory://."""
    storage = fsspec.filesystem("memory")
    storage.store.clear()
    storage.pseudo_dirs[:] = [""]
    yield storage
    storage.store.clear()


@pytest.fixture
def tree(memory: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty recordings below the current folder, and the same behind memory://."""
    names = "talks/a.wav talks/b.ape talks/deep/c.flac other/a.mp3 other/a.wav"
    for name in names.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        memory.pipe(f"/{name}", b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(jobs: list[Job], folder: Path) -> list[str]:
    """The jobs as text, paths relative to the current folder."""
    return [f"{j.input} > {j.output}".replace(f"{folder.as_posix()}/", "") for j in jobs]


def test_what_is_an_address() -> None:
    assert all(map(is_address, ("s3://a/b", "gs://a", "sftp://host/a", "memory://a")))
    assert not any(map(is_address, ("a/b", "/a", "C:\\a", "c://a", "a:b", "talk s3://a")))


def test_paths_are_planned_as_without_a_cluster(tree: Path) -> None:
    assert lines(plan(["talks"], None)[0], tree) == [
        "talks/a.wav > talks/a_denoised.wav",
        "talks/b.ape > talks/b_denoised.wav",
    ]
    jobs, _ = plan([f"file://{tree}/talks/a.wav"], "file://new/")
    assert lines(jobs, tree) == ["talks/a.wav > new/a.wav"]
    ((job,), _) = plan(["talks/a.wav"], "x.flac", save_noise=True)
    assert job.outputs == (str(tree / "x.flac"), str(tree / "x_noise.flac"))


def test_a_tree_is_mirrored(tree: Path) -> None:
    assert lines(plan(["memory://talks"], "memory://out/", recursive=True)[0], tree) == [
        "memory://talks/a.wav > memory://out/a.wav",
        "memory://talks/b.ape > memory://out/b.wav",  # .ape can only be read
        "memory://talks/deep/c.flac > memory://out/deep/c.flac",
    ]
    assert lines(plan(["memory://other"], "out")[0], tree) == [
        "memory://other/a.mp3 > out/a.mp3",
        "memory://other/a.wav > out/a.wav",
    ]
    ((job,), _) = plan(["talks/deep"], "memory://out", save_noise=True)
    assert job.input == str(tree / "talks/deep/c.flac")
    assert job.outputs == ("memory://out/c.flac", "memory://out/c_noise.flac")


def test_results_and_repetitions_are_not_cleaned(tree: Path, memory: MemoryFileSystem) -> None:
    names = ("/talks/out/a.wav", "/talks/a_denoised.wav", "/talks/deep/street_noise.wav")
    memory.pipe(dict.fromkeys(names, b""))
    given = ["memory://talks", "memory://talks/a.wav"]
    jobs, told = plan(given, "memory://talks/out", recursive=True)
    assert [Path(job.input).name for job in jobs] == [
        "a.wav",
        "b.ape",
        "c.flac",
        "street_noise.wav",
    ]
    assert told == ["a_denoised.wav left out: made by an earlier run from the recordings beside"]


@pytest.mark.parametrize(
    ("inputs", "output", "sentence"),
    [
        (["memory://talks"], None, "memory://talks needs a folder for the results"),
        (["memory://talks"], "memory://out.wav", "out.wav needs a folder for the results"),
        (["memory://other", "memory://talks"], "out", "other/a.wav and .* both lead to"),
        (["memory://talks"], "memory://talks", "nothing to clean"),
    ],
)
@pytest.mark.usefixtures("tree")
def test_refusals(inputs: list[str], output: str | None, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        plan(inputs, output)


def test_what_is_there_is_left_out(tree: Path, memory: MemoryFileSystem) -> None:
    jobs, _ = plan(["memory://talks"], "memory://out", recursive=True, save_noise=True)
    assert pending(jobs, "memory://out") == jobs  # there is no such folder
    memory.pipe({"/out/a.wav": b"", "/out/a_noise.wav": b"", "/out/b.wav": b""})
    assert pending(jobs, "memory://out") == jobs[1:]
    local, _ = plan(["talks"], "out")
    (tree / "out").mkdir()
    (tree / "out" / "a.wav").touch()
    assert pending(local, "out") == local[1:]


@pytest.mark.parametrize(
    ("address", "recursive", "expected"),
    [
        ("memory://talks", False, {"a.wav", "b.MP3"}),
        ("memory://talks/", True, {"a.wav", "b.MP3", "deep/c.flac"}),
        ("memory://talks/missing.wav", False, {"missing.wav"}),
    ],
)
def test_what_is_found(
    memory: MemoryFileSystem, address: str, recursive: bool, expected: set[str]
) -> None:
    for name in ["a.wav", "b.MP3", "notes.txt", "deep/c.flac", ".hidden.wav", ".cache/d.wav"]:
        memory.pipe(f"/talks/{name}", b"")
    places = {(place, str(below)) for place, below in found(address, recursive)}
    assert places == {(f"memory://talks/{name}", name) for name in expected}


def test_nothing_is_found(memory: MemoryFileSystem) -> None:
    memory.pipe("/talks/notes.txt", b"")
    with pytest.raises(UserError, match=r"no recording in memory://talks \(--recursive takes"):
        list(found("memory://talks", False))


def test_there_and_back(memory: MemoryFileSystem, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    publish(tmp_path / "a.wav", "memory://talks/deep/b.wav", "tag")
    assert list(memory.store) == ["/talks/deep/b.wav"]  # and no temporary name
    with opened("memory://talks/deep/b.wav") as (storage, path):
        assert storage.cat(path) == b"sound"


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
        with pytest.raises(TransferError, match=r"memory://b.wav cannot be reached.*gone"):
            publish(tmp_path / "a.wav", "memory://b.wav", "tag")
    assert memory.cat("/b.wav") == b"former"
    publish(tmp_path / "a.wav", "memory://b.wav", "tag")
    assert list(memory.store) == ["/b.wav"] and memory.cat("/b.wav") == b"sound"


@pytest.mark.parametrize(
    ("address", "error", "sentence"),
    [
        ("memory://b.wav", FileNotFoundError("/b.wav"), "cannot be used .FileNot.*check it"),
        ("memory://b.wav", PermissionError("403"), "b.wav cannot be used .*403.*your access"),
        ("memory://b.wav", OSError("reset"), r"b.wav cannot be reached \(OSError.*reset"),
        ("nothing://b/a.wav", None, r"nothing://b/a.wav cannot be used.*check it"),
        ("s3://b/a.wav", ImportError("Install s3fs"), r"s3://b/a.wav cannot be used.*Install s3fs"),
    ],
)
@pytest.mark.usefixtures("memory")
def test_what_storage_refuses(
    address: str,
    error: Exception | None,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if error is not None:

        def refuse(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    with pytest.raises(UserError, match=sentence) as raised:
        publish(tmp_path / "a.wav", address, "tag")
    assert isinstance(raised.value, TransferError) == (type(error) is OSError)  # tried again
