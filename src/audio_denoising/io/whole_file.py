"""Writing a file whole or not at all, so that neither a kill nor a full disk leaves half of one.

A new file is written under a temporary name beside its place, forced onto the disk, and only then
renamed, which the file system does in one step: who looks sees the old file or the new one.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError

_MARK = ".part"  # in every temporary name, so that leftovers are told from other hidden files


def save_whole(path: Path, write: Callable[[Path], object], former: Path | None = None) -> None:
    """Lets `write` fill a temporary file beside `path`, then renames it: all or nothing.

    Args:
        path: the file; its folder is made where need be.
        write: gets the temporary path, whose extension is the file's own.
        former: where the file that `path` held before goes, in the same folder. At every instant
            `path` holds a whole file, on file systems without hard links `path` or `former` does.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=f"{_MARK}{path.suffix}", dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o644)
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        if former is not None:
            _hand_over(path, former, temporary.with_name(f"{temporary.name}.old"))
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error}; choose another folder or free some space"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Makes the folder where need be, so that work fails before it begins, not after hours.

    Raises:
        UserError: results could not be saved there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error}): choose another --out") from error


def remove_leftovers(folder: Path) -> None:
    """Removes what writes to `folder` left behind that were killed; nobody may be writing there."""
    for path in folder.glob(f".*{_MARK}.*"):
        path.unlink(missing_ok=True)


def _hand_over(path: Path, former: Path, second_name: Path) -> None:
    """Makes `former` the file at `path`, which keeps its name until another file takes it."""
    if not path.is_file():
        return
    try:
        os.link(path, second_name)
    except OSError:  # a file system without hard links
        path.replace(former)
        return
    second_name.replace(former)
    # Where a kill has left both names to one file, the renaming does nothing at all (POSIX).
    second_name.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Forces the new name onto the disk, where the system can do that (Windows cannot)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
