"""Unpacks a .tar.gz archive without trusting it.

Nothing is written outside the target folder: every name is checked, links, devices and pipes are
refused, and owners and permissions in the archive are ignored. Python's own extraction filters do
this only since 3.12 (and in later patches of 3.10 and 3.11), so the members are written here one
by one.
"""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from ..errors import UserError
from .watching import Watcher

_BLOCK = 1 << 20
# Not valid in names on Windows, where they would reach another drive, stream or folder.
_FOREIGN = re.compile(r"[\\:\x00]")


def unpack(archive: Path, target: Path, watcher: Watcher | None = None) -> None:
    """Writes the regular files and folders of ``archive`` below ``target``.

    ``target`` should be a new folder: after an error it holds what was unpacked so far.

    Raises:
        UserError: the archive is damaged, holds a path that leaves ``target``, a link, a device
            or a pipe, or the disk is full.
    """
    watcher = watcher or Watcher()
    watcher.begin(f"Unpacking {archive.name}", archive.stat().st_size)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with (
            archive.open("rb") as packed,
            gzip.GzipFile(fileobj=packed) as plain,
            tarfile.open(fileobj=plain, mode="r|") as members,
        ):
            for member in members:
                _write(members, member, target, archive)
                watcher.advance(packed.tell())
            while plain.read(_BLOCK):  # to the end, where gzip compares its own checksum
                pass
            watcher.advance(packed.tell())
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(
            f"{archive} is not a sound .tar.gz archive ({error}); delete it and run again."
        ) from error
    except OSError as error:
        raise UserError(
            f"Unpacking {archive} into {target.parent} failed ({error.strerror or error}); make "
            "room on the disk or choose another folder and run again, nothing is fetched twice."
        ) from error


def _write(members: tarfile.TarFile, member: tarfile.TarInfo, target: Path, archive: Path) -> None:
    """Writes one member below ``target`` or refuses it."""
    path = target / safe_path(member.name, archive)
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    if not member.isreg():
        kind = "a link" if member.islnk() or member.issym() else "a device or pipe"
        raise UserError(
            f"{archive} holds {kind} ({member.name!r}), which no audio corpus needs; it was not "
            "unpacked, delete it and fetch it from a source you trust."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    content = members.extractfile(member)
    assert content is not None  # only None for what is not a regular file
    with content, path.open("wb") as output:
        shutil.copyfileobj(content, output, _BLOCK)


def safe_path(name: str, archive: Path) -> PurePosixPath:
    """The relative path a member may be written to.

    Raises:
        UserError: ``name`` is absolute, climbs with ``..`` or would on some system.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or _FOREIGN.search(name):
        raise UserError(
            f"{archive} holds a path that leaves its folder ({name!r}); it was not unpacked, "
            "delete it and fetch it from a source you trust."
        )
    return path


def unpack_folder(
    archive: Path, inside: str, destination: Path, watcher: Watcher | None = None
) -> None:
    """Unpacks ``archive`` so that its folder ``inside`` appears as ``destination``, whole or not.

    Everything goes to a temporary folder beside ``destination`` first. Files next to ``inside`` in
    the archive (a README, a table of speakers) are kept next to ``destination``.

    Raises:
        UserError: as for `unpack`; or ``inside`` is not in the archive.
    """
    workshop = destination.parent / f".{destination.name}.unpacking"
    try:
        if workshop.exists():  # left by a run that was killed
            shutil.rmtree(workshop)
        unpack(archive, workshop, watcher)
        folder = workshop / inside
        if not folder.is_dir():
            raise UserError(f"{archive} holds no folder {inside}; delete it and run again.")
        if folder.parent != workshop:
            for path in folder.parent.iterdir():
                if path.is_file() and not (destination.parent / path.name).exists():
                    path.replace(destination.parent / path.name)
        if destination.is_dir():  # the caller made sure that it is empty; else this fails
            destination.rmdir()
        folder.rename(destination)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
