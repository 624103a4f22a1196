"""Recordings by address (``s3://…``, ``gs://…``, ``sftp://…``): found, fetched, published.

fsspec speaks to the storage; its filesystem packages (s3fs, gcsfs …) are installed as needed, and
take credentials from where they always do. What a path leads to is used where it lies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from audio_denoising.cleaning import plan as plans
from audio_denoising.cleaning.folder import earlier_results
from audio_denoising.cleaning.settings import Job
from audio_denoising.errors import UserError
from audio_denoising.media.formats import MEDIA_EXTENSIONS


class TransferError(UserError):
    """Storage failed for a reason that may be gone at the next attempt."""


def is_address(name: str) -> bool:
    """Whether a name is an address such as ``s3://bucket/folder``, not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None


def plan(
    inputs: Sequence[str], output: str | None, recursive: bool = False, save_noise: bool = False
) -> tuple[list[Job], list[str]]:
    """The jobs and what is left out, as `plan.plan` lists them, for names that may be addresses.

    With an address among them, ``output`` is a folder, and needed. Paths come out absolute.
    UserError where there is nothing to clean, or two inputs lead to one output.
    """
    inputs = [name.removeprefix("file://") for name in inputs]
    output = output and output.removeprefix("file://")
    if not any(is_address(name) for name in (*inputs, output or "")):
        jobs, left_out = plans.plan(inputs, output, recursive=recursive, save_noise=save_noise)
        return [Job(_absolute(job.input), *map(_absolute, job.outputs)) for job in jobs], left_out
    if output is None or PurePosixPath(output).suffix.lower() in MEDIA_EXTENSIONS:
        raise UserError(f"{output or inputs[0]} needs a folder for the results: give one with -o")
    root = _absolute(output).rstrip("/")
    jobs_of: dict[str, Job] = {}  # each once, even if named twice
    left_out = []
    for name in map(_absolute, inputs):
        places = dict(found(name, recursive))
        made = earlier_results(list(places.values()), left_out)
        for place, below in places.items():
            if below not in made and not place.startswith(f"{root}/"):  # an earlier run's
                target = below.with_suffix(plans.output_suffix(below))
                noise = f"{root}/{plans.noise_beside(target)}" if save_noise else None
                jobs_of[place] = Job(place, f"{root}/{target}", noise)
    return plans.checked(list(jobs_of.values()), inputs), left_out


def pending(jobs: Sequence[Job], output: str | None) -> list[Job]:
    """The jobs whose outputs are not all there; a folder with an address is listed once."""
    if output is None or not is_address(output):
        return [job for job in jobs if not all(Path(path).exists() for path in job.outputs)]
    with opened(output) as (storage, root):
        there, path_of = set(storage.find(root)), storage._strip_protocol
        return [job for job in jobs if not there.issuperset(map(path_of, job.outputs))]


def found(name: str, recursive: bool) -> Iterator[tuple[str, PurePosixPath]]:
    """The recordings behind a file or a folder, each with its place below where it was found;
    UserError where there are none."""
    name = name.rstrip("/")
    with opened(name) as (storage, root):
        if _is_recording(root) or not storage.isdir(root):
            yield name, PurePosixPath(PurePosixPath(root).name)
            return
        paths = storage.find(root, maxdepth=None if recursive else 1)
    places = [(p, PurePosixPath(p).relative_to(root)) for p in sorted(paths) if _is_recording(p)]
    places = [each for each in places if not any(part.startswith(".") for part in each[1].parts)]
    if not places:
        more = "" if recursive else " (--recursive takes the folders inside it, too)"
        raise UserError(f"there is no recording in {name}{more}: check the address")
    # Not by fsspec's own way back from a path, which forgets the host of sftp://host/folder.
    start = name[: name.index(root)] if root in name else f"{name.partition('://')[0]}://"
    for path, below in places:
        yield start + path, below


def publish(made: Path, address: str, tag: str) -> None:
    """Copies a complete file to an address, replacing another; it appears whole or not at all.
    Who tries again with the same ``tag``, the temporary name, leaves nothing behind."""
    with opened(address) as (storage, path):
        parent = path.rpartition("/")[0]
        storage.makedirs(parent, exist_ok=True)
        storage.put_file(str(made), f"{parent}/.{tag}.part")
        storage.mv(f"{parent}/.{tag}.part", path)


def _absolute(name: str) -> str:
    """A name that holds on a worker, wherever it was started."""
    return name if is_address(name) else str(Path(name).absolute())


def _is_recording(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in MEDIA_EXTENSIONS


@contextmanager
def opened(name: str) -> Iterator[tuple[Any, str]]:
    """The filesystem of a name and the path in it; its many errors come in one sentence."""
    from fsspec.core import url_to_fs

    try:
        storage, path = url_to_fs(name)
        yield storage, str(path)
    except (ImportError, FileNotFoundError, PermissionError, ValueError) as error:
        raise UserError(f"{name} cannot be used ({error!r}): check it, and your access") from error
    except Exception as error:
        todo = "check the connection, and run the same command again"
        raise TransferError(f"{name} cannot be reached ({error!r}): {todo}") from error
