"""Unpacks a .tar.gz archive without trusting it.

Python's own filter for data (PEP 706) lets nothing be written outside the target folder, refuses
devices and pipes, and ignores owners and dangerous permissions.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path

from audio_denoising.corpora.watching import Watcher
from audio_denoising.errors import UserError

_BLOCK = 1 << 20


def unpack(archive: Path, target: Path, watcher: Watcher | None = None) -> None:
    """Writes the regular files and folders of ``archive`` below ``target``.

    ``target`` should be a new folder: after an error it holds what was unpacked so far.

    Raises:
        UserError: the archive is damaged, holds a path or a link that leaves ``target``, a device
            or a pipe, the disk is full, or this Python is too old to have the filter.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            "this Python cannot unpack archives safely: update it to 3.10.12, 3.11.4 or newer"
        )
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
                members.extract(member, target, filter="data")
                watcher.advance(packed.tell())
            while plain.read(_BLOCK):  # to the end, where gzip compares its own checksum
                pass
            watcher.advance(packed.tell())
    except tarfile.FilterError as error:
        raise UserError(
            f"{archive} holds what no audio corpus needs ({error}); it was not unpacked, delete it "
            "and fetch it from a source you trust."
        ) from error
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(
            f"{archive} is not a sound .tar.gz archive ({error}); delete it and run again."
        ) from error
    except OSError as error:
        raise UserError(
            f"Unpacking {archive} into {target.parent} failed ({error.strerror or error}); make "
            "room on the disk or choose another folder and run again, nothing is fetched twice."
        ) from error


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
