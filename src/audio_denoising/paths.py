"""What may be read or written under a name, and what a name leads to."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path

from audio_denoising.errors import UserError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}[^/]")  # pathlib makes one slash of two


def require_file(path: str | Path) -> None:
    """Refuses what is not a regular, readable, non-empty file, by a UserError."""
    try:
        about = os.stat(path)  # noqa: PTH116 - of a text, which may be an address
        if stat.S_ISREG(about.st_mode):
            Path(path).open("rb").close()
    except (FileNotFoundError, NotADirectoryError) as error:
        refuse_address(path)
        raise UserError(f"{path} does not exist: check the name and the folder") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise UserError(
            f"{path} cannot be read ({_reason(error)}): check its name and your permissions"
        ) from error
    if stat.S_ISDIR(about.st_mode):
        raise UserError(f"{path} is a folder: give one audio file inside it")
    if not stat.S_ISREG(about.st_mode):
        raise UserError(f"{path} is not a regular file: save the audio to a file first")
    if about.st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): record, copy or download it again")


def require_free(path: Path, *, force: bool = False) -> None:
    """Refuses what cannot become a file; folders on the way to it may be missing.

    UserError where it exists and ``force`` is not given, is a folder, a device or an address, or
    its folder cannot be written to.
    """
    refuse_address(path)
    try:
        mode = _mode(path)
        folder = path.resolve().parent
        while _mode(folder) is None:
            folder = folder.parent
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise UserError(
            f"{path} cannot be written ({_reason(error)}): choose another output name"
        ) from error
    if mode is not None and stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder: give the name of a file in it")
    if mode is not None and not stat.S_ISREG(mode):
        raise UserError(f"{path} is not a regular file: choose another output name")
    if mode is not None and not force:
        raise UserError(f"{path} exists already: choose another name, or replace it by force=True")
    if not folder.is_dir():
        raise UserError(f"{path} cannot be written, {folder} is a file: choose another folder")
    try:
        with tempfile.TemporaryFile(dir=folder):  # permissions do not tell, as of /proc to root
            pass
    except OSError as error:
        raise UserError(
            f"{path} cannot be written, {folder} takes no file ({_reason(error)}): choose another "
            f"folder"
        ) from error


def refuse_address(path: str | Path) -> None:
    """Refuses what is no file name but an address, such as ``https://…/talk.wav``: a UserError."""
    text = str(path)
    if _ADDRESS.match(text) and not os.path.lexists(text):
        raise UserError(
            f"{text} is an address, and addresses are not opened: download what is there, and give "
            f"the name of the file"
        )


def real(path: Path) -> Path:
    """The file that a name leads to, through links; links in a circle lead to themselves."""
    return Path(os.path.realpath(path))  # Path.resolve raises for some names


def same_file(first: Path, second: Path) -> bool:
    """Whether two names lead to one file, also through links."""
    try:
        return first.samefile(second)
    except (OSError, ValueError):  # one of them does not exist
        return real(first) == real(second)


def exists(path: Path) -> bool:
    """Whether there is such a file; not where the name itself is impossible."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists may raise before Python 3.14


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; not where the name itself is impossible."""
    return os.path.isdir(path)  # noqa: PTH112 - as above


def _mode(path: Path) -> int | None:
    """What is there, or None; `Path.exists` of Python 3.14 hides that one may not look."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
