"""Writing a file whole or not at all, so that neither a kill nor a full disk leaves half of one.

A new file is written under a temporary name beside its place, forced onto the disk, and only then
renamed, which the file system does in one step: who looks sees the old file or the new one. What
it replaces hands on its permissions and its owner.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from audio_denoising.errors import UserError
from audio_denoising.media.paths import exists, real

_MARK = ".part"  # in every temporary name, so that leftovers are told from other hidden files


class WholeFile:
    """A file in the making.

    Attributes:
        temporary: where to write it, beside its place and with its ending.

    Args:
        path: its place; folders that are missing on the way are made. A link stays a link: what it
            points to is replaced.

    Raises:
        OSError: the folder cannot be made or written to.
    """

    def __init__(self, path: Path) -> None:
        self._target = real(path)
        folder = self._target.parent
        self._made = [each for each in (folder, *folder.parents) if not each.exists()]
        self.temporary = folder / (
            f".{self._target.stem[:40]}.{uuid.uuid4().hex[:8]}{_MARK}{self._target.suffix[:20]}"
        )
        # As private as what it replaces may be, until it has its permissions.
        mode = 0o600 if exists(self._target) else 0o666
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        except OSError:
            self._remove_folders()
            raise

    def keep(self, former: Path | None = None) -> None:
        """Puts the file in its place.

        Args:
            former: where the file that was there goes, in the same folder. At every instant the
                place holds a whole file; on file systems without hard links it or `former` does.

        Raises:
            OSError: the disk is full, or the folder has gone.
        """
        with self.temporary.open("rb") as written:
            os.fsync(written.fileno())
        hand_on_permissions(self._target, self.temporary)
        if former is not None:
            second_name = self.temporary.with_name(f"{self.temporary.name}.old")
            _hand_over(self._target, former, second_name)
        self.temporary.replace(self._target)
        _sync_folder(self._target.parent)

    def discard(self) -> None:
        """Takes away what has not been put in its place, with the folders made for it."""
        self.temporary.unlink(missing_ok=True)
        self._remove_folders()

    def _remove_folders(self) -> None:
        for folder in self._made:
            with contextlib.suppress(OSError):  # in use, by this very file if it was kept
                folder.rmdir()


def save_whole(path: Path, write: Callable[[Path], object], former: Path | None = None) -> None:
    """Lets `write` fill a temporary file beside `path`, then renames it: all or nothing.

    Args:
        path: the file; its folder is made where need be.
        write: gets the temporary path, whose extension is the file's own.
        former: where the file that `path` held before goes, see `WholeFile.keep`.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    file: WholeFile | None = None
    try:
        file = WholeFile(path)
        write(file.temporary)
        file.keep(former)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error}; choose another folder or free some space"
        ) from error
    finally:
        if file is not None:
            file.discard()


def hand_on_permissions(former: Path, new: Path) -> None:
    """Gives `new` the mode, the access list and, where the system lets us, the owner of `former`.

    What the system refuses stays as it is: `new` should be private until then.
    """
    with contextlib.suppress(OSError):  # there is none
        about = former.stat()
        for owner in (about.st_uid, -1):  # not root: the group, if it is one of ours
            with contextlib.suppress(OSError, AttributeError):  # Windows has no owners
                os.chown(new, owner, about.st_gid)
                break
        shutil.copystat(former, new)
        os.utime(new)  # the times are its own


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
    for path in folder.glob(f".*{_MARK}*"):
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
