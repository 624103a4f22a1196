"""What to clean and where it goes: the files behind names, globs and folders, each with its output.

All of it is known before any work starts, and so is everything that would go wrong with it.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

from audio_denoising.errors import UserError
from audio_denoising.files import exists, is_folder, real, refuse_address, same_file
from audio_denoising.media.formats import CONTAINERS, MEDIA_EXTENSIONS, default_output

_DENOISED, _NOISE = "_denoised", "_noise"  # how the names of results end


@dataclass(frozen=True)
class Job:
    """One recording to clean.

    Attributes:
        input: the recording.
        output: its cleaned form.
        noise: what was taken out, if that is wanted.
    """

    input: Path
    output: Path
    noise: Path | None = None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files it writes."""
        return (self.output,) if self.noise is None else (self.output, self.noise)


@dataclass(frozen=True)
class Plan:
    """What there is to clean.

    Attributes:
        jobs: in the order of the inputs.
        left_out: sentences on what was found and is not cleaned.
    """

    jobs: list[Job]
    left_out: tuple[str, ...] = ()


def plan(
    inputs: Sequence[str],
    output: str | None = None,
    *,
    recursive: bool = False,
    in_place: bool = False,
    save_noise: bool = False,
) -> Plan:
    """Lists the recordings behind ``inputs``, in their order, each with its outputs.

    Args:
        inputs: files, folders, and patterns such as ``"talks/*.mp3"`` or ``"**/*.wav"``.
        output: one file for one input; a folder (one that exists, or ends in a slash) for many.
            Below it stands the tree that is below an input folder. Left out, the results stand
            beside their inputs, as ``NAME_denoised.wav``.
        recursive: take the folders inside folders, too.
        in_place: each output is its input.
        save_noise: what is taken out goes beside the output, see `noise_beside`.

    Raises:
        UserError: there is nothing to clean, two inputs lead to one output, or the options exclude
            each other.
    """
    if in_place and output is not None:
        raise UserError("--in-place replaces the inputs: leave out --output")
    _refuse_addresses([*inputs, output or ""])
    folder = _output_folder(inputs, output)
    if output is None and not in_place:
        _refuse_a_second_name(inputs)
    jobs = []
    seen: set[Path] = set()
    left_out: list[str] = []
    for path, below in _found(inputs, recursive, folder, left_out):
        if path in seen:  # named twice, or by two patterns
            continue
        seen.add(path)
        if in_place:
            target = path
        elif folder is not None:
            target = folder / below.with_suffix(output_suffix(path))
        else:
            target = Path(output) if output is not None else default_output(path)
        jobs.append(Job(path, target, noise_beside(target) if save_noise else None))
    if not jobs:
        raise UserError(f"there is nothing to clean in {', '.join(map(str, inputs))}")
    _refuse_collisions(jobs)
    return Plan(jobs, tuple(left_out))


def pending(jobs: Sequence[Job], *, force: bool = False, skip_existing: bool = False) -> list[Job]:
    """The jobs still to be done.

    Args:
        jobs: as `plan` lists them.
        force: do all, replacing outputs.
        skip_existing: leave out those whose outputs exist. An output appears only when it is
            complete, so a run that was stopped goes on where it was.

    Raises:
        UserError: outputs exist, and neither is given.
    """
    if force:
        return list(jobs)
    if skip_existing:
        return [job for job in jobs if not all(map(exists, job.outputs))]
    inputs = {job.input for job in jobs}  # of a job in place, the output is there of course
    existing = [path for job in jobs for path in job.outputs if exists(path)]
    existing = [path for path in existing if path not in inputs]
    if existing and len(jobs) > 1:
        more = f" and {len(existing) - 1} more outputs exist" if existing[1:] else " exists"
        raise UserError(
            f"{existing[0]}{more} already: leave what exists with --skip-existing, or replace it "
            f"by --force"
        )
    return list(jobs)


def output_suffix(path: PurePath) -> str:
    """The ending of an output that is called like its input: its own, if it can be written."""
    known = path.suffix.lower() in CONTAINERS
    return path.suffix if known else default_output(path.name).suffix


_Path = TypeVar("_Path", bound=PurePath)


def noise_beside(output: _Path) -> _Path:
    """Where goes what was taken out: ``NAME_noise`` beside the output, in its format.

    That of a video is sound alone, in a WAV.
    """
    sound = default_output(output.name).suffix == ".wav"
    name = output.stem.removesuffix(_DENOISED)
    return output.with_name(f"{name}{_NOISE}{output.suffix if sound else '.wav'}")


def results(recordings: Sequence[_Path]) -> list[_Path]:
    """Those among some recordings that an earlier run made of others among them.

    A name alone tells nothing: a user has a ``street_noise.wav``, too. ``X_denoised`` is a result
    where ``X`` stands beside it, ``X_noise`` where both do.
    """
    stems = {(path.parent, path.stem) for path in recordings}

    def is_result(path: _Path) -> bool:
        for ending, others in ((_DENOISED, ("",)), (_NOISE, ("", _DENOISED))):
            name = path.stem.removesuffix(ending)
            if name != path.stem:
                return all((path.parent, f"{name}{other}") in stems for other in others)
        return False

    return [path for path in recordings if is_result(path)]


def told(results: Sequence[PurePath]) -> list[str]:
    """The sentence on results of an earlier run that are not cleaned again, if there are any."""
    if not results:
        return []
    names = ", ".join(path.name for path in results[:3])
    more = f" and {len(results) - 3} more" if results[3:] else ""
    return [f"{names}{more} left out: made by an earlier run from the recordings beside"]


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


def _refuse_addresses(names: Sequence[str]) -> None:
    for name in names:
        try:
            refuse_address(name)
        except UserError as error:
            if name.startswith(("http:", "https:", "ftp:")):
                raise
            raise UserError(f"{error}, or clean it where it is, with --ray local") from error


def _refuse_a_second_name(inputs: Sequence[str]) -> None:
    """Refuses ``in.wav out.wav``, which other programs take for an input and its output."""
    last = inputs[-1]
    if len(inputs) > 1 and not exists(Path(last)) and not _is_pattern(last):
        raise UserError(f"{last} does not exist: did you mean -o {last}, to write it?")


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
            root, found = _fixed_part(name), [match for match in matches if match.is_file()]
        else:
            yield path, Path(path.name)  # missing ones, too: they fail in their turn
            continue
        made = set(results(found))
        left_out += told(sorted(made))
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


def _fixed_part(pattern: str) -> Path:
    """The folder that a pattern starts with, before its first wildcard."""
    fixed = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    """No file may be written twice, or be written while it is another's input."""
    writers: dict[Path, Job] = {}
    for job in jobs:
        for path in job.outputs:
            other = writers.setdefault(real(path), job)
            if other is not job:
                raise UserError(
                    f"{other.input} and {job.input} both lead to {path}: clean them one by one, "
                    f"or into a folder of their own with -o FOLDER"
                )
    for job in jobs:
        reader = writers.get(real(job.input))
        if reader is not None and reader is not job:
            raise UserError(
                f"the output of {reader.input} would be {job.input}, which is an input itself: "
                f"choose a folder for the outputs with -o FOLDER"
            )
