"""Folders: filled whole or not at all, and tried out before the work."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audio_denoising.errors import UserError
from audio_denoising.paths import real


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of ``path`` when the block ends well.

    OSError where it cannot be written; what was there is still there.
    """
    target = real(path)  # a link stays a link
    target.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        fresh = workshop / "new"
        fresh.mkdir()
        yield fresh
        old = target.rename(workshop / "old") if target.exists() else None
        try:
            fresh.rename(target)
        except OSError:
            if old is not None:
                old.rename(target)
            raise
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def refuse_file(folder: Path, option: str) -> None:
    """Raises UserError if what an option takes for a folder is a file."""
    if folder.is_file():
        raise UserError(f"{folder} is a file: {option} takes a folder")


def require_writable(folder: Path) -> None:
    """Makes the folder where need be, so that work fails (UserError) before it begins."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error}): choose another --out") from error
