"""Names that users give: what may be read or written is told from what may not, in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from audio_denoising.errors import UserError, as_typed, told
from audio_denoising.paths import exists, real, require_file, require_free, same_file

LONG = "x" * 300 + ".wav"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a file, a folder, links in a circle and a device."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.wav").write_text("sound")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle.wav").symlink_to("circle.wav")
    (tmp_path / "nowhere.wav").symlink_to("gone.wav")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.wav", "does not exist"),
        ("nowhere.wav", "does not exist"),
        ("file.wav/a.wav", "does not exist"),
        ("folder", "is a folder"),
        ("empty.wav", "is empty"),
        ("circle.wav", "cannot be read"),
        (LONG, "cannot be read"),
        ("nu\0ll.wav", "cannot be read"),
        (os.devnull, "is not a regular file"),
        ("https://a.b/c.wav", "is an address"),
        (Path("s3://a/c.wav"), "is an address"),
    ],
)
def test_what_cannot_be_read(name: str | Path, words: str) -> None:
    with pytest.raises(UserError, match=words):
        require_file(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file.wav", "exists already.*force=True"),
        ("folder", "is a folder"),
        ("file.wav/a.wav", "is a file: choose another folder"),
        ("file.wav/new/a.wav", "is a file: choose another folder"),
        (LONG, "cannot be written"),
        ("circle.wav", "cannot be written"),
        ("nu\0ll.wav", "cannot be written"),
        (os.devnull, "is not a regular file"),
        ("s3://a/c.wav", "is an address"),
    ],
)
def test_what_cannot_be_written(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        require_free(Path(name))


def test_what_can_be_read_and_written(folder: Path) -> None:
    require_file("file.wav")
    require_free(Path("file.wav"), force=True)
    require_free(Path("new/deep/a.wav"))
    (folder / "https:" / "a.b").mkdir(parents=True)
    (folder / "https:" / "a.b" / "c.wav").write_text("odd, but a file")
    require_file("https://a.b/c.wav")


def test_impossible_names_are_no_files() -> None:
    for name in (LONG, "circle.wav", "nu\0ll.wav"):
        assert not exists(Path(name))
    assert not same_file(Path("circle.wav"), Path("file.wav"))
    assert same_file(Path("circle.wav"), Path("circle.wav"))
    assert real(Path("file.wav")) == Path("file.wav").resolve()


def test_arguments_are_options_on_the_command_line() -> None:
    told = as_typed("a=True.wav exists: replace it by force=True, or with in_place=True; x=Truest")
    assert told == "a=True.wav exists: replace it by --force, or with --in-place; x=Truest"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("exists: use force=True"), "exists: use --force"),
        (PermissionError(13, "Permission denied", b"a\xff"), "a\udcff cannot be used (Permission"),
        (OSError(28, "No space left on device"), "the standard output cannot be used (No space"),
        (MemoryError(), "too little memory"),
        (torch.OutOfMemoryError("CUDA"), "too little memory: close other programs, or choose"),
        (KeyError("x"), "KeyError: 'x'; this should not happen: --debug shows where it did"),
        (OSError(5, "Input/output error"), "this should not happen"),
    ],
)
def test_what_the_user_can_put_right_is_told_from_a_fault(error: Exception, sentence: str) -> None:
    words, expected = told(error, "--debug")
    assert sentence in words
    assert expected == ("should not happen" not in words)
