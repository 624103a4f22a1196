"""What to clean and where it goes: the files behind names, globs and folders, each with its output.

All of it is known before any work starts, and so is everything that would go wrong with it.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from audio_denoising.cleaning.settings import Job
from audio_denoising.errors import UserError
from audio_denoising.files import exists, is_folder, real, refuse_address, same_file
from audio_denoising.media.formats import CONTAINERS, MEDIA_EXTENSIONS, default_output

_DENOISED, _NOISE = "_denoised", "_noise"  # how the names of results end
_Path = TypeVar("_Path", bound=PurePath)


def plan(
    inputs: Sequence[str],
    output: str | None = None,
    *,
    recursive: bool = False,
    in_place: bool = False,
    save_noise: bool = False,
) -> tuple[list[Job], list[str]]:
    """Lists the recordings behind ``inputs``, in their order, each with its outputs.

    Args:
        inputs: files, folders, and patterns such as ``"talks/*.mp3"`` or ``"**/*.wav"``.
        output: one file for one input; a folder (one that exists, or ends in a slash) for many.
            Below it stands the tree that is below an input folder. Left out, the results stand
            beside their inputs, as ``NAME_denoised.wav``.
        recursive: take the folders inside folders, too.
        in_place: each output is its input.
        save_noise: what is taken out goes beside the output, see `noise_beside`.

    Returns:
        The jobs, and sentences on what was found and is not cleaned.

    Raises:
        UserError: there is nothing to clean, two inputs lead to one output, or the options exclude
            each other.
    """
    if in_place and output is not None:
        raise UserError("--in-place replaces the inputs: leave out --output")
    for name in (*inputs, output or ""):
        _refuse_address(name)
    folder = _output_folder(inputs, output)
    last = inputs[-1]
    several = len(inputs) > 1 and output is None and not in_place
    if several and not exists(Path(last)) and not _is_pattern(last):
        # Other programs take `in.wav out.wav` for an input and its output.
        raise UserError(f"{last} does not exist: did you mean -o {last}, to write it?")
    jobs: dict[Path, Job] = {}  # a file may be named twice, or by two patterns
    left_out: list[str] = []
    for path, below in _found(inputs, recursive, folder, left_out):
        if in_place:
            target = path
        elif folder is not None:
            target = folder / below.with_suffix(output_suffix(path))
        else:
            target = Path(output) if output is not None else default_output(path)
        noise = str(noise_beside(target)) if save_noise else None
        jobs.setdefault(path, Job(str(path), str(target), noise))
    return checked(list(jobs.values()), inputs), left_out


def pending(jobs: Sequence[Job], *, force: bool = False, skip_existing: bool = False) -> list[Job]:
    """The jobs still to be done.

    All with ``force``, which replaces outputs; those whose outputs are not there with
    ``skip_existing``: an output appears only when it is complete, so a run that was stopped goes on
    where it was.

    Raises:
        UserError: outputs exist, and neither is given.
    """
    if skip_existing and not force:
        return [job for job in jobs if not all(exists(Path(path)) for path in job.outputs)]
    if not force and len(jobs) > 1:
        inputs = {job.input for job in jobs}  # of a job in place, the output is there of course
        outputs = [path for job in jobs for path in job.outputs if path not in inputs]
        existing = [path for path in outputs if exists(Path(path))]
        if existing:
            more = f" and {len(existing) - 1} more outputs exist" if existing[1:] else " exists"
            raise UserError(
                f"{existing[0]}{more} already: leave what exists with --skip-existing, or replace "
                f"it by --force"
            )
    return list(jobs)


def checked(jobs: list[Job], inputs: Sequence[str]) -> list[Job]:
    """The jobs: some, none of which writes what another writes or reads.

    Raises:
        UserError: it does, or there are none.
    """
    if not jobs:
        raise UserError(f"there is nothing to clean in {', '.join(inputs)}")
    writers: dict[Path, Job] = {}
    for job in jobs:
        for path in job.outputs:
            other = writers.setdefault(real(Path(path)), job)
            if other is not job:
                raise UserError(
                    f"{other.input} and {job.input} both lead to {path}: clean them one by one, "
                    f"or into a folder of their own with -o FOLDER"
                )
    for job in jobs:
        writer = writers.get(real(Path(job.input)), job)
        if writer is not job:
            raise UserError(
                f"the output of {writer.input} would be {job.input}, which is an input itself: "
                f"choose a folder for the outputs with -o FOLDER"
            )
    return jobs


def output_suffix(path: PurePath) -> str:
    """The ending of an output that is called like its input: its own, if it can be written."""
    known = path.suffix.lower() in CONTAINERS
    return path.suffix if known else default_output(path.name).suffix


def noise_beside(output: _Path) -> _Path:
    """Where goes what was taken out: ``NAME_noise`` beside the output, in its format.

    That of a video is sound alone, in a WAV.
    """
    sound = default_output(output.name).suffix == ".wav"
    name = output.stem.removesuffix(_DENOISED)
    return output.with_name(f"{name}{_NOISE}{output.suffix if sound else '.wav'}")


def earlier_results(recordings: Sequence[_Path], left_out: list[str]) -> set[_Path]:
    """Those among some recordings that an earlier run made of others among them.

    A name alone tells nothing: a user has a ``street_noise.wav``, too. ``X_denoised`` is a result
    where ``X`` stands beside it, ``X_noise`` where both do. A sentence on them joins ``left_out``.
    """
    stems = {(path.parent, path.stem) for path in recordings}

    def is_result(path: _Path) -> bool:
        for ending, others in ((_DENOISED, ("",)), (_NOISE, ("", _DENOISED))):
            name = path.stem.removesuffix(ending)
            if name != path.stem:
                return all((path.parent, f"{name}{other}") in stems for other in others)
        return False

    made = sorted(filter(is_result, recordings))
    if made:
        names = ", ".join(path.name for path in made[:3])
        more = f" and {len(made) - 3} more" if made[3:] else ""
        left_out.append(
            f"{names}{more} left out: made by an earlier run from the recordings beside"
        )
    return set(made)


def _refuse_address(name: str) -> None:
    try:
        refuse_address(name)
    except UserError as error:
        if name.startswith(("http:", "https:", "ftp:")):
            raise
        raise UserError(f"{error}, or clean it where it is, with --ray local") from error


def _output_folder(inputs: Sequence[str], output: str | None) -> Path | None:
    """The folder that ``output`` names, if it is one."""
    if output is None:
        return None
    path = Path(output)
    single = len(inputs) == 1 and not is_folder(Path(inputs[0])) and not _is_pattern(inputs[0])
    if is_folder(path) or output.endswith(("/", os.sep)):
        return path
    if single:
        return None
    if exists(path):
        raise UserError(f"{path} is a file, and there are several inputs: give a folder")
    if path.suffix.lower() in MEDIA_EXTENSIONS:
        raise UserError(
            f"{path} is the name of a file, and there are several inputs: give a folder, or put a "
            f"slash behind its name"
        )
    return path


def _found(
    inputs: Sequence[str], recursive: bool, folder: Path | None, left_out: list[str]
) -> Iterator[tuple[Path, Path]]:
    """Each file with its place below the folder that it was found in."""
    for name in inputs:
        path = Path(name)
        if is_folder(path):
            root, found = path, _in_folder(path, recursive, folder, left_out)
        elif _is_pattern(name):
            # Path.glob takes no absolute patterns.
            matches = sorted(map(Path, glob.glob(name, recursive=True)))  # noqa: PTH207
            if not matches:
                raise UserError(f"no file fits {name}: check the pattern and the folder")
            parts = Path(name).parts
            fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
            root, found = Path(*parts[:fixed]), [match for match in matches if match.is_file()]
        else:
            yield path, Path(path.name)  # missing ones, too: they fail in their turn
            continue
        made = earlier_results(found, left_out)
        yield from ((each, each.relative_to(root)) for each in found if each not in made)


def _in_folder(root: Path, recursive: bool, folder: Path | None, left_out: list[str]) -> list[Path]:
    """The recordings in a folder; not hidden files, and not what lies in the output folder."""
    found = []

    def closed(error: OSError) -> None:
        if error.filename == str(root):
            raise UserError(f"{root} cannot be listed ({error.strerror}): check your permissions")
        left_out.append(f"{error.filename} left out: it cannot be listed ({error.strerror})")

    for parent, folders, names in os.walk(root, onerror=closed):
        here = Path(parent)
        hidden = {name for name in folders if name.startswith(".")}
        outputs = {name for name in folders if folder and same_file(here / name, folder)}
        folders[:] = sorted(set(folders) - hidden - outputs) if recursive else []
        found += [
            here / name
            for name in names
            if Path(name).suffix.lower() in MEDIA_EXTENSIONS and not name.startswith(".")
        ]
    if not found:
        more = "" if recursive else ": add --recursive to take the folders inside it, too"
        raise UserError(f"{root} is a folder without recordings{more or ': give another one'}")
    return sorted(found)


def _is_pattern(name: str) -> bool:
    """Whether a name is a pattern: it has a wildcard, and no file is called so."""
    return glob.has_magic(name) and not exists(Path(name))
