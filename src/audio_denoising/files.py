"""Files that are written whole or not at all, and folders that one run holds at a time.

A new file is written under a temporary name beside its place, forced onto the disk, and only then
renamed, which the file system does in one step: who looks sees the old file or the new one. What
it replaces hands on its permissions and its owner.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from audio_denoising.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_MARK = ".part"  # in every temporary name


@contextlib.contextmanager
def whole_file(path: Path, former: Path | None = None) -> Iterator[Path]:
    """A temporary file beside ``path``, with its ending, that goes there if the block ends well.

    What an earlier attempt left behind that was killed is removed, folders that are missing on the
    way are made, and a link stays a link: what it points to is replaced. OSError where the folder
    cannot be made or written to, or the disk is full.

    Args:
        former: where the file that was there goes, in the same folder. At every instant the place
            holds a whole file; on file systems without hard links it or `former` does.
    """
    target = Path(os.path.realpath(path))
    folder, stem, ending = target.parent, target.stem[:40], target.suffix[:20]
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    temporary = folder / f".{stem}.{uuid.uuid4().hex[:8]}{_MARK}{ending}"
    # As private as what it replaces may be, until it has its permissions.
    mode = 0o600 if target.exists() else 0o666
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f".{glob.escape(stem)}.????????{_MARK}{glob.escape(ending)}*"):
            with contextlib.suppress(OSError), left.open("rb") as old:
                if locked(old):
                    left.unlink()
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as new:
            locked(new)
            yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        hand_on_permissions(target, temporary)
        if former is not None and target.is_file():
            _hand_over(target, former, temporary.with_name(f"{temporary.name}.old"))
        temporary.replace(target)
        with contextlib.suppress(OSError):  # Windows cannot force the new name onto the disk
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    finally:
        with contextlib.suppress(OSError):  # there is none, or not even a folder
            temporary.unlink()
        for each in made:
            with contextlib.suppress(OSError):  # in use, by this very file if it was kept
                each.rmdir()


def save_whole(path: Path, write: Callable[[Path], object], former: Path | None = None) -> None:
    """`whole_file` filled by `write`; UserError where it cannot be, or the disk is full."""
    try:
        with whole_file(path, former) as temporary:
            write(temporary)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error}; choose another folder or free some space"
        ) from error


@contextlib.contextmanager
def single_run(folder: Path) -> Iterator[None]:
    """Holds `folder`, made where absent, so that two runs do not overwrite each other's work.

    The system lets go of it in any case; folders made for it go again where nothing came into them.

    Raises:
        UserError: another run holds it (Windows does not tell), or it cannot be written.
    """
    path = folder / ".lock"
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}); name another folder."
        ) from error
    with lock:
        if locked(lock) is False:
            raise UserError(f"Another run is at work in {folder}; wait for it or stop it.")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty
                for each in made:
                    each.rmdir()


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


def locked(file: IO[Any]) -> bool | None:
    """Locks an open file; False where another process holds its lock, None where there are none.

    The lock ends with the process, however that does, and so tells what is being written from what
    was left behind.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (OSError, AttributeError):  # a file system without locks, or Windows
        return None
    return True


def appends(file: IO[Any]) -> bool:
    """Whether all that is written to an open file goes to its end, wherever one seeks (``>>``)."""
    try:
        return bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_APPEND)
    except (OSError, AttributeError):  # no file of the system's, or Windows
        return False


def _hand_over(path: Path, former: Path, second_name: Path) -> None:
    """Makes `former` the file at `path`, which keeps its name until another file takes it."""
    try:
        os.link(path, second_name)
    except OSError:  # a file system without hard links
        path.replace(former)
        return
    second_name.replace(former)
    # Where a kill has left both names to one file, the renaming does nothing at all (POSIX).
    second_name.unlink(missing_ok=True)
