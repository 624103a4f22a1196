"""What to clean and where it goes: the recordings behind the names that a user gave, each with its
outputs. All of it is known before any work starts, and so is everything that would go wrong.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from audio_denoising.cleaning.folder import DENOISED, NOISE, recordings
from audio_denoising.cleaning.settings import Job
from audio_denoising.errors import UserError
from audio_denoising.media.formats import CONTAINERS, MEDIA_EXTENSIONS, default_output
from audio_denoising.paths import exists, is_folder, real, refuse_address

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
    for name in inputs:
        found = [(Path(name), Path(Path(name).name))]  # if it is missing it fails in its turn
        if is_folder(Path(name)) or _is_pattern(name):
            found = recordings(name, recursive, folder, left_out)
        for path, below in found:
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
    """The jobs still to be done: all with ``force``, which replaces outputs, and with
    ``skip_existing`` those whose outputs are not there, so that a run that was stopped goes on.
    UserError where outputs exist, and neither is given."""
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
    """The jobs; UserError if there are none, or one writes what another writes or reads."""
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
    """Where goes what was taken out: ``NAME_noise`` beside the output, in its format or, beside a
    video, in a WAV."""
    sound = default_output(output.name).suffix == ".wav"
    name = output.stem.removesuffix(DENOISED)
    return output.with_name(f"{name}{NOISE}{output.suffix if sound else '.wav'}")


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


def _is_pattern(name: str) -> bool:
    """Whether a name is a pattern: it has a wildcard, and no file is called so."""
    return glob.has_magic(name) and not exists(Path(name))
