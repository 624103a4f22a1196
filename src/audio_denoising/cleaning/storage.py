"""Files by path or by address (``s3://…``, ``gs://…``, ``sftp://…``): found, fetched, published.

fsspec speaks to the storage; its filesystem packages (s3fs, gcsfs …) are installed as needed, and
take credentials from where they always do. What a path leads to is used where it lies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from audio_denoising.errors import UserError
from audio_denoising.media.formats import MEDIA_EXTENSIONS

# Here an object appears when its upload is complete. Elsewhere a file grows before all eyes.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss"})


class TransferError(UserError):
    """Storage failed for a reason that may be gone at the next attempt."""


def is_address(name: str) -> bool:
    """Whether a name is an address such as ``s3://bucket/folder``, not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None


def found(name: str, recursive: bool) -> Iterator[tuple[str, PurePosixPath]]:
    """The recordings behind a path or an address, each with its place below where it was found.

    Args:
        name: a file, a folder, or a pattern such as ``s3://bucket/talks/*.flac``.
        recursive: take the folders inside a folder, too.

    Raises:
        UserError: there are none, or storage cannot be asked.
    """
    name = name.rstrip("/")
    with _plainly(name):
        storage, root = _opened(name)
        if wildcard := re.search(r"[*?\[]", root):
            matches = storage.glob(root, detail=True)
            paths = [path for path, about in matches.items() if about["type"] == "file"]
            root = root[: wildcard.start()].rpartition("/")[0]
        elif _is_recording(root) or not storage.isdir(root):
            yield name, PurePosixPath(PurePosixPath(root).name)
            return
        else:
            paths = storage.find(root, maxdepth=None if recursive else 1)
            paths = [path for path in paths if _is_recording(path)]
    places = [(path, PurePosixPath(path).relative_to(root)) for path in sorted(paths)]
    places = [each for each in places if not any(part.startswith(".") for part in each[1].parts)]
    if not places:
        more = "" if recursive else " (--recursive takes the folders inside it, too)"
        raise UserError(f"there is no recording in {name}{more}: check the address")
    # Not by fsspec's own way back from a path, which forgets the host of sftp://host/folder.
    start = name[: name.index(root)] if root in name else f"{name.partition('://')[0]}://"
    for path, below in places:
        yield start + path, below


def existing(names: Sequence[str], folder: str) -> set[str]:
    """Those files below a folder that are there, by listing it once.

    Raises:
        UserError: storage cannot be asked.
    """
    if not is_address(folder):
        return {name for name in names if Path(name).exists()}
    with _plainly(folder):
        storage, root = _opened(folder)
        try:
            there = set(storage.find(root))
        except FileNotFoundError:
            there = set()
        return {name for name in names if _opened(name)[1] in there}


def fetch(address: str, copy: Path) -> None:
    """Copies the file at an address to this machine.

    Raises:
        TransferError: storage failed half-way.
        UserError: it does not exist, or storage cannot be used at all.
    """
    copy.parent.mkdir(parents=True, exist_ok=True)
    with _plainly(address):
        storage, path = _opened(address)
        storage.get_file(path, str(copy))


def publish(made: Path, address: str, tag: str) -> None:
    """Copies a complete file to an address, replacing another; it appears whole or not at all.

    Args:
        made: the file.
        address: where it goes.
        tag: makes the temporary name; who tries again with the same tag leaves nothing behind.

    Raises:
        TransferError: storage failed half-way.
        UserError: it cannot be written.
    """
    with _plainly(address):
        storage, path = _opened(address)
        names = (storage.protocol,) if isinstance(storage.protocol, str) else storage.protocol
        if not _OBJECT_STORES.isdisjoint(names):
            storage.put_file(str(made), path)
            return
        folder = path.rpartition("/")[0]
        partial = f"{folder}/.{tag}.part"
        storage.makedirs(folder, exist_ok=True)
        storage.put_file(str(made), partial)
        storage.mv(partial, path)


def _is_recording(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in MEDIA_EXTENSIONS


def _opened(name: str) -> tuple[Any, str]:
    """The filesystem of a name, and the path in it."""
    from fsspec.core import url_to_fs

    storage, path = url_to_fs(name)
    return storage, str(path)


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    """Says in one sentence what storage says in many ways."""
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"{name} needs a package that is missing here ({error}): install it, on every machine "
            f"of the cluster"
        ) from error
    except (FileNotFoundError, PermissionError, ValueError) as error:
        raise UserError(
            f"{name} cannot be used ({type(error).__name__}: {error}): check the address, and your "
            f"access to it"
        ) from error
    except Exception as error:
        raise TransferError(
            f"{name} cannot be reached ({type(error).__name__}: {error}): check the connection, "
            f"and run the same command again"
        ) from error
