"""Files by path or by address (``s3://…``, ``gs://…``, ``sftp://…``): found, fetched, published.

fsspec speaks to the storage; its filesystem packages (s3fs, gcsfs …) are installed as needed, and
take credentials from where they always do. What lies on this machine is used where it lies.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from audio_denoising.errors import UserError
from audio_denoising.files import whole_file
from audio_denoising.media.formats import MEDIA_EXTENSIONS

# Here an object appears when its upload is complete. Elsewhere a file grows before all eyes.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss"})
_WILDCARD = re.compile(r"[*?\[]")


class TransferError(UserError):
    """Storage failed for a reason that may be gone at the next attempt."""


@dataclass(frozen=True)
class Place:
    """One file, by absolute path or by address."""

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return PurePosixPath(self.text).name if is_address(self.text) else Path(self.text).name

    @property
    def local(self) -> Path | None:
        """The path, where the file is on this machine."""
        return None if is_address(self.text) else Path(self.text)

    def exists(self) -> bool:
        """Whether there is such a file.

        Raises:
            UserError: nobody can tell.
        """
        with _plainly(self.text):
            storage, path = self._opened()
            return bool(storage.exists(path))

    def fetch(self, folder: Path) -> Path:
        """The file on this machine: itself where it is local, else a copy in ``folder``.

        Raises:
            TransferError: storage failed half-way.
            UserError: it does not exist, or storage cannot be used at all.
        """
        if self.local is not None:
            return self.local
        copy = folder / self.name
        with _plainly(self.text):
            storage, path = self._opened()
            storage.get_file(path, str(copy))
        return copy

    def publish(self, made: Path, tag: str) -> None:
        """Puts a copy of a complete file here, replacing another; it appears whole or not at all.

        Args:
            made: the file.
            tag: makes the temporary name; who tries again with the same tag leaves nothing behind.

        Raises:
            TransferError: storage failed half-way.
            UserError: it cannot be written.
        """
        with _plainly(self.text):
            if self.local is not None:
                with whole_file(self.local) as temporary:
                    shutil.copyfile(made, temporary)
                return
            storage, path = self._opened()
            if not _OBJECT_STORES.isdisjoint(_protocols(storage)):
                storage.put_file(str(made), path)
                return
            folder = path.rpartition("/")[0]
            partial = f"{folder}/.{tag}.part"
            storage.makedirs(folder, exist_ok=True)
            storage.put_file(str(made), partial)
            storage.mv(partial, path)

    def _opened(self) -> tuple[Any, str]:
        return _open(self.text)


def is_address(text: str) -> bool:
    """Whether ``text`` is an address such as ``s3://bucket/folder``, not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def found(text: str, recursive: bool) -> Iterator[tuple[Place, PurePosixPath]]:
    """The recordings behind a path or an address, each with its place below where it was found.

    Args:
        text: a file, a folder, or a pattern such as ``s3://bucket/talks/*.flac``.
        recursive: take the folders inside a folder, too.

    Raises:
        UserError: there are none, or storage cannot be asked.
    """
    text = text.rstrip("/")
    with _plainly(text):
        storage, root = _open(text)
        if wildcard := _WILDCARD.search(root):
            matches = storage.glob(root, detail=True)
            paths = [path for path, about in matches.items() if about["type"] == "file"]
            root = root[: wildcard.start()].rpartition("/")[0]
        elif _is_recording(root) or not storage.isdir(root):
            yield Place(text), PurePosixPath(PurePosixPath(root).name)
            return
        else:
            paths = storage.find(root, maxdepth=None if recursive else 1)
            paths = [path for path in paths if _is_recording(path)]
    below = {path: PurePosixPath(path).relative_to(root) for path in sorted(paths)}
    below = {
        path: place
        for path, place in below.items()
        if not any(part.startswith(".") for part in place.parts)
    }
    if not below:
        more = "" if recursive else " (--recursive takes the folders inside it, too)"
        raise UserError(f"there is no recording in {text}{more}: check the address")
    # Not by fsspec's own way back from a path, which forgets the host of sftp://host/folder.
    start = text[: text.index(root)] if root in text else f"{text.partition('://')[0]}://"
    for path, place in below.items():
        yield Place(start + path), place


def existing(places: Sequence[Place], folder: str) -> set[Place]:
    """Those of the places below a folder that are there, by listing it once.

    Raises:
        UserError: storage cannot be asked.
    """
    if not is_address(folder):
        return {place for place in places if place.exists()}
    with _plainly(folder):
        storage, root = _open(folder)
        try:
            there = set(storage.find(root))
        except FileNotFoundError:
            there = set()
        return {place for place in places if _open(place.text)[1] in there}


def _is_recording(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in MEDIA_EXTENSIONS


def _open(text: str) -> tuple[Any, str]:
    """The filesystem of an address, and the path in it."""
    from fsspec.core import url_to_fs

    storage, path = url_to_fs(text)
    return storage, str(path)


def _protocols(storage: Any) -> Sequence[str]:
    return (storage.protocol,) if isinstance(storage.protocol, str) else storage.protocol


@contextmanager
def _plainly(text: str) -> Iterator[None]:
    """Says in one sentence what storage says in many ways."""
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"{text} needs a package that is missing here ({error}): install it, on every machine "
            f"of the cluster"
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"{text} does not exist: check the address") from error
    except PermissionError as error:
        raise UserError(f"{text} is not yours to use: check your access to it") from error
    except ValueError as error:
        raise UserError(f"{text} cannot be opened ({error}): check the address") from error
    except Exception as error:
        raise TransferError(
            f"{text} cannot be reached ({type(error).__name__}: {error}): check the connection, "
            f"and run the same command again"
        ) from error
