"""Keeps two runs of a command out of one folder, where they would overwrite each other's work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from audio_denoising.errors import UserError

try:
    import fcntl
except ImportError:  # Windows, where two runs at once are not told apart
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def single_run(folder: Path) -> Iterator[None]:
    """Holds ``folder``, made where absent, for this run; the system lets go of it in any case.

    Folders that it made are taken away again where nothing came into them.

    Raises:
        UserError: another run holds it, or it cannot be written.
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
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"Another run is at work in {folder}; wait for it or stop it."
                ) from error
            except OSError:  # a file system without locks
                pass
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty
                for each in made:
                    each.rmdir()
