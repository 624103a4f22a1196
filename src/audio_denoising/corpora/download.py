"""Brings corpora from their publishers to the disk: choose, check for room, fetch, verify, unpack.

Afterwards the layout is ``<root>/LibriSpeech/<subset>`` and
``<root>/noise_datasets/UrbanSound8K/audio/fold1`` to ``fold10``. Archives in transit lie in
``<root>/archives``. A folder of a corpus appears only when it is complete, so running the same
command again after any failure, or after Ctrl-C, continues where it stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from audio_denoising.corpora.archives import unpack_folder
from audio_denoising.corpora.catalogue import CORPORA, Archive, Corpus
from audio_denoising.corpora.transfer import Transfer
from audio_denoising.corpora.watching import Watcher
from audio_denoising.errors import UserError
from audio_denoising.files import single_run

_BLOCK = 1 << 20


def choose(corpus: str, subsets: Sequence[str] = ()) -> tuple[list[Corpus], list[Archive]]:
    """The corpora and archives a command means.

    Args:
        corpus: a key of `CORPORA` or ``"all"``.
        subsets: subsets of LibriSpeech; empty: the usual ones.

    Raises:
        UserError: an unknown name, or subsets for a corpus that has none.
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
    archives: Sequence[Archive],
    root: Path,
    watcher: Watcher | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Path]:
    """Fetches and unpacks what is not there yet, one archive after the other.

    Returns the folders, in the order of ``archives``; nothing is fetched for complete ones.

    Raises:
        UserError: a folder is there but incomplete, the disk has no room, another run is at work
            in ``root``, no server could deliver an archive, or an archive is not what its
            publisher describes.
    """
    watcher = watcher or Watcher()
    missing = []
    for archive in archives:
        if is_complete(archive, root):
            watcher.say(f"{root / archive.folder} was complete already, nothing to fetch")
        else:
            missing.append(archive)
    if missing:
        _check_room(missing, root)
        names = ", ".join(archive.name for archive in missing)
        size = sum(archive.size for archive in missing)
        watcher.say(f"To fetch: {names}, {size / 1e9:.2f} GB in all")
        transit = root / "archives"
        with single_run(transit):
            for archive in missing:
                packed = _fetch(archive, transit, watcher, sleep)
                destination = root / archive.folder
                unpack_folder(packed, archive.inside, destination, watcher)
                packed.unlink()
                watcher.say(f"{destination} is complete")
        with contextlib.suppress(OSError):  # other archives are still in it
            transit.rmdir()
    return [root / archive.folder for archive in archives]


def is_complete(archive: Archive, root: Path) -> bool:
    """Whether the folder of ``archive`` is there with all its recordings.

    Raises:
        UserError: it holds something else; nobody's files are overwritten.
    """
    folder = root / archive.folder
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UserError(f"{folder} should be a folder; move it away and run again.")
    from audio_denoising.corpora.corpus import EXTENSIONS  # here: it loads what decodes audio

    found = 0
    for _, _, names in os.walk(folder):
        found += sum(
            Path(name).suffix.lower() in EXTENSIONS and not name.startswith(".") for name in names
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
        whole = root / "archives" / archive.file_name
        arrived = 0
        for path in (whole, whole.with_name(f"{whole.name}.part")):
            with contextlib.suppress(OSError):
                arrived += path.stat().st_size
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


def _fetch(
    archive: Archive, folder: Path, watcher: Watcher, sleep: Callable[[float], None]
) -> Path:
    """The verified archive on disk. A wrong one is removed and fetched once more."""
    target = folder / archive.file_name
    urls = list(archive.urls)
    found = ""
    for _ in range(2):
        if not target.exists():
            Transfer(urls, target, archive.size, watcher, sleep=sleep).run()
        found = _md5(target, watcher)
        if found == archive.md5:
            return target
        target.unlink()
        urls = [*urls[1:], urls[0]]  # the second time the bytes come from another server first
        watcher.say(f"{target.name} has the wrong checksum {found} and was removed")
    raise UserError(
        f"{target.name} arrived with the wrong checksum ({found} instead of {archive.md5}) and "
        "nothing was unpacked; try again later or from another network."
    )


def _md5(path: Path, watcher: Watcher) -> str:
    """MD5 in hex: what the publishers state. It finds accidents, it does not stop an attacker."""
    digest = hashlib.md5(usedforsecurity=False)
    watcher.begin(f"Verifying {path.name}", path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            watcher.advance(file.tell())
    return digest.hexdigest()
