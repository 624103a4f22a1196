"""Brings corpora from their publishers to the disk: choose, check for room, fetch, verify, unpack.

Afterwards the layout is ``<root>/LibriSpeech/<subset>`` and
``<root>/noise_datasets/UrbanSound8K/audio/fold1`` to ``fold10``. Archives in transit lie in
``<root>/archives``. A folder of a corpus appears only when it is complete, so running the same
command again after any failure, or after Ctrl-C, continues where it stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from audio_denoising.corpora.catalogue import CORPORA, Archive, Corpus
from audio_denoising.corpora.sources import EXTENSIONS
from audio_denoising.corpora.transfer import Transfer, TransferDisplay
from audio_denoising.errors import UserError
from audio_denoising.files import single_run

_BLOCK = 1 << 20


def choose(corpus: str, subsets: Sequence[str] = ()) -> tuple[list[Corpus], list[Archive]]:
    """The corpora and archives a command means by a key of `CORPORA` or ``"all"``.

    The subsets are those of LibriSpeech, without any the usual ones. UserError for a name that is
    not known, or subsets of a corpus that has none.
    """
    if corpus not in (*CORPORA, "all"):
        raise UserError(f"There is no corpus {corpus!r}; choose {', '.join(CORPORA)} or all.")
    if subsets and corpus == "urbansound8k":
        raise UserError("UrbanSound8K comes in one piece; leave --subset out.")
    corpora = [CORPORA[name] for name in ([corpus] if corpus != "all" else CORPORA)]
    speech = CORPORA["librispeech"].archives
    for name in subsets:
        if name not in speech:
            raise UserError(f"There is no subset {name!r}; choose from {', '.join(speech)}.")
    archives: list[Archive] = []
    for each in corpora:
        wanted = subsets if subsets and each.archives is speech else each.usual
        archives += [each.archives[name] for name in dict.fromkeys(wanted)]
    return corpora, archives


def download(
    archives: Sequence[Archive], root: Path, display: TransferDisplay | None = None
) -> list[Path]:
    """Fetches and unpacks what is not there yet, one archive after the other.

    Returns the folders, in the order of ``archives``; nothing is fetched for complete ones.

    Raises:
        UserError: a folder is there but incomplete, the disk has no room, another run is at work
            in ``root``, no server could deliver an archive, or an archive is not what its
            publisher describes.
    """
    display = display or TransferDisplay()
    missing = []
    for archive in archives:
        if is_complete(archive, root):
            display.say(f"{root / archive.folder} was complete already, nothing to fetch")
        else:
            missing.append(archive)
    if missing:
        _check_room(missing, root)
        names = ", ".join(archive.name for archive in missing)
        size = sum(archive.size for archive in missing)
        display.say(f"To fetch: {names}, {size / 1e9:.2f} GB in all")
        transit = root / "archives"
        with single_run(transit):
            for archive in missing:
                packed = _fetch(archive, transit, display)
                unpack(packed, archive.inside, root / archive.folder, display)
                packed.unlink()
                display.say(f"{root / archive.folder} is complete")
        with contextlib.suppress(OSError):  # other archives are still in it
            transit.rmdir()
    return [root / archive.folder for archive in archives]


def is_complete(archive: Archive, root: Path) -> bool:
    """Whether the folder of ``archive`` is there with all its recordings.

    UserError where it holds something else; nobody's files are overwritten.
    """
    folder = root / archive.folder
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UserError(f"{folder} should be a folder; move it away and run again.")

    found = sum(
        path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
        for path in folder.rglob("*")
    )
    if found < archive.recordings and any(folder.iterdir()):
        raise UserError(
            f"{folder} holds {found} of the {archive.recordings} recordings of {archive.name}; "
            "move it away and run again to get a complete one."
        )
    return found >= archive.recordings


def room_needed(archives: Sequence[Archive], root: Path) -> int:
    """The most bytes that fetching ``archives`` takes at any moment, beyond what is there now.

    An archive and its unpacked form lie side by side for a while; then the archive goes.
    """
    peak, unpacked = 0, 0
    for archive in archives:
        arrived = 0
        for name in (archive.file_name, f"{archive.file_name}.part"):
            with contextlib.suppress(OSError):
                arrived += (root / "archives" / name).stat().st_size
        peak = max(peak, unpacked + max(0, archive.size - arrived) + archive.unpacked)
        unpacked += archive.unpacked
    return peak


def _check_room(archives: Sequence[Archive], root: Path) -> None:
    needed = room_needed(archives, root)
    existing = root.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UserError(
            f"{root} needs {needed / 1e9:.1f} GB of room for the archives and what is in them, but "
            f"{free / 1e9:.1f} GB are free; make room, fetch fewer subsets or name another --root."
        )


def _fetch(archive: Archive, folder: Path, display: TransferDisplay) -> Path:
    """The verified archive on disk. A wrong one is removed and fetched once more."""
    target = folder / archive.file_name
    urls = list(archive.urls)
    found = ""
    for _ in range(2):
        if not target.exists():
            Transfer(urls, target, archive.size, display).run()
        found = _md5(target, display)
        if found == archive.md5:
            return target
        target.unlink()
        urls = [*urls[1:], urls[0]]  # the second time the bytes come from another server first
        display.say(f"{target.name} has the wrong checksum {found} and was removed")
    raise UserError(
        f"{target.name} arrived with the wrong checksum ({found} instead of {archive.md5}) and "
        "nothing was unpacked; try again later or from another network."
    )


def _md5(path: Path, display: TransferDisplay) -> str:
    """MD5 in hex: what the publishers state. It finds accidents, it does not stop an attacker."""
    digest = hashlib.md5(usedforsecurity=False)
    display.begin(f"Verifying {path.name}", path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            display.reach(file.tell())
    return digest.hexdigest()


def unpack(archive: Path, inside: str, destination: Path, display: TransferDisplay) -> None:
    """Unpacks a .tar.gz so that its folder ``inside`` appears as ``destination``, whole or not.

    Python's own filter for data (PEP 706) lets nothing be written outside, refuses devices and
    pipes, and ignores owners and dangerous permissions. Everything goes to a temporary folder
    beside ``destination`` first. Files next to ``inside`` in the archive (a README, a table of
    speakers) are kept next to ``destination``.

    Raises:
        UserError: the archive is damaged, holds what that filter refuses or no folder ``inside``,
            the disk is full, or this Python is too old to have the filter.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            "this Python cannot unpack archives safely: update it to 3.10.12, 3.11.4 or newer"
        )
    display.begin(f"Unpacking {archive.name}", archive.stat().st_size)
    workshop = destination.parent / f".{destination.name}.unpacking"
    shutil.rmtree(workshop, ignore_errors=True)  # left by a run that was killed
    try:
        workshop.mkdir(parents=True)
        with archive.open("rb") as packed, tarfile.open(fileobj=packed, mode="r|gz") as members:
            for member in members:
                members.extract(member, workshop, filter="data")
                display.reach(packed.tell())
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
    except tarfile.FilterError as error:
        raise UserError(
            f"{archive} holds what no audio corpus needs ({error}); it was not unpacked, delete it "
            "and fetch it from a source you trust."
        ) from error
    except (tarfile.TarError, EOFError) as error:
        raise UserError(
            f"{archive} is not a sound .tar.gz archive ({error}); delete it and run again."
        ) from error
    except OSError as error:
        raise UserError(
            f"Unpacking {archive} into {destination.parent} failed ({error.strerror or error}); "
            "make room on the disk or choose another folder and run again, nothing is fetched "
            "twice."
        ) from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
