"""A file is written whole or not at all, and the one before it is kept where that is asked for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from audio_denoising.errors import UserError
from audio_denoising.files import save_whole, whole_file
from audio_denoising.folders import require_writable


def _write(path: Path, text: str, former: Path | None = None) -> None:
    save_whole(path, lambda temporary: temporary.write_text(text), former)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_what_is_replaced_hands_on_its_permissions(mode: int, tmp_path: Path) -> None:
    path, former, link = tmp_path / "file.txt", tmp_path / "former.txt", tmp_path / "link.txt"
    path.write_text("old")
    link.symlink_to(path)
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    owner = path.stat().st_uid, path.stat().st_gid

    def write(temporary: Path) -> None:
        assert _mode(temporary) == 0o600  # nobody else looks in before it is in its place
        temporary.write_text("new")

    for name, kept in ((path, None), (link, None), (path, former)):
        save_whole(name, write, kept)
        assert _mode(path) == mode and path.read_text() == "new"
        assert (path.stat().st_uid, path.stat().st_gid) == owner
    assert link.is_symlink() and _mode(former) == mode


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_new_file_appears_whole_and_as_open_as_its_user_wants(tmp_path: Path) -> None:
    path, before = tmp_path / "a" / "b" / "file.txt", os.umask(0o027)
    try:
        _write(path, "new")
    finally:
        os.umask(before)
    assert path.read_text() == "new" and _mode(path) == 0o640
    assert _names(path.parent) == {"file.txt"}


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    _write(tmp_path / f"{'x' * 251}.txt", "new")
    _write(tmp_path / f"{'é' * 120}.{'y' * 10}", "new")
    assert len(_names(tmp_path)) == 2


def test_folders_made_for_a_file_that_fails_are_taken_away(tmp_path: Path) -> None:
    def fail(temporary: Path) -> None:
        raise OSError(28, "No space left on device")

    for folder in ("a/b", f"a/{'x' * 300}"):
        with pytest.raises(UserError):
            save_whole(tmp_path / folder / "file.txt", fail)
        assert _names(tmp_path) == set()


def test_a_failing_write_leaves_the_old_files(tmp_path: Path) -> None:
    path, former = tmp_path / "file.txt", tmp_path / "former.txt"
    path.write_text("old")
    former.write_text("older")

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"half of the new")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="cannot write .*file.txt.*No space left.*free some space"):
        save_whole(path, fail, former)
    assert (path.read_text(), former.read_text()) == ("old", "older")
    assert _names(tmp_path) == {"file.txt", "former.txt"}


@pytest.mark.parametrize("links", [True, False])
def test_the_former_file_is_kept(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path, former = tmp_path / "file.txt", tmp_path / "former.txt"
    for count, text in enumerate(("one", "two", "three")):
        _write(path, text, former)
        assert path.read_text() == text
        assert former.exists() == (count > 0)
    assert former.read_text() == "two"
    assert _names(tmp_path) == {"file.txt", "former.txt"}


@pytest.mark.parametrize("call", range(1, 6))
def test_a_kill_at_any_call_leaves_a_whole_file_and_a_way_on(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, former = tmp_path / "file.txt", tmp_path / "former.txt"
    for text in ("one", "two"):
        _write(path, text, former)
    calls = 0

    class Killed(BaseException):
        pass

    def killing(function: object) -> object:
        def instead(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls >= call:  # a dead process makes no further calls either
                raise Killed
            return function(*arguments, **named)  # type: ignore[operator]

        return instead

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", killing(os.link))
        patch.setattr(os, "fsync", killing(os.fsync))
        patch.setattr(Path, "replace", killing(Path.replace))
        patch.setattr(Path, "unlink", killing(Path.unlink))
        with pytest.raises(Killed):
            _write(path, "three", former)
    assert path.read_text() == "two"
    assert former.read_text() in ("one", "two")
    _write(path, "three", former)
    assert (path.read_text(), former.read_text()) == ("three", "two")
    assert _names(tmp_path) == {"file.txt", "former.txt"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_what_a_kill_left_goes_at_the_next_attempt_and_what_is_being_written_stays(
    tmp_path: Path,
) -> None:
    for left in (".file.0123abcd.part.txt", ".file.0123abcd.part.txt.old"):
        (tmp_path / left).touch()
    with whole_file(tmp_path / "file.txt") as first, whole_file(tmp_path / "file.txt") as second:
        assert _names(tmp_path) == {first.name, second.name}
    assert _names(tmp_path) == {"file.txt"}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "folder")
    assert _names(tmp_path / "new" / "folder") == set()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to .*file.*another --out"):
        require_writable(tmp_path / "file" / "folder")
