"""What to clean and where it goes: the files behind names, globs and folders, each with its output.

All of it is known before any work starts, and so is everything that would go wrong with it.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_denoising.cleaning.recording import same_file
from audio_denoising.errors import UserError
from audio_denoising.io.formats import MEDIA_EXTENSIONS, choose_format, default_output

_RESULTS = ("_denoised", "_noise")  # how the names of results end that stand beside their inputs


@dataclass(frozen=True)
class Job:
    """One recording to clean.

    Attributes:
        input: the recording.
        output: its cleaned form.
        noise: what was taken out, if that is wanted.
        in_tree: the output stands in a tree of folders that is made on the way.
    """

    input: Path
    output: Path
    noise: Path | None = None
    in_tree: bool = False

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files it writes."""
        return (self.output,) if self.noise is None else (self.output, self.noise)

    def make_folder(self) -> None:
        """Makes the folder of the output, where it is part of a tree.

        Raises:
            UserError: it cannot be made.
        """
        if not self.in_tree:
            return
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the folder {self.output.parent} cannot be made ({error.strerror}): choose "
                f"another one with -o"
            ) from error


def plan(
    inputs: Sequence[str],
    output: str | None = None,
    *,
    recursive: bool = False,
    in_place: bool = False,
    save_noise: bool = False,
) -> list[Job]:
    """Lists the recordings behind ``inputs``, in their order, each with its outputs.

    Args:
        inputs: files, folders, and patterns such as ``"talks/*.mp3"`` or ``"**/*.wav"``.
        output: one file for one input; a folder (one that exists, or ends in a slash) for many.
            Below it stands the tree that is below an input folder. Left out, the results stand
            beside their inputs, as ``NAME_denoised.wav``.
        recursive: take the folders inside folders, too.
        in_place: each output is its input.
        save_noise: what is taken out goes to ``NAME_noise.wav`` beside the output.

    Raises:
        UserError: there is nothing to clean, two inputs lead to one output, or the options exclude
            each other.
    """
    if in_place and output is not None:
        raise UserError("--in-place replaces the inputs: leave out --output")
    folder = _output_folder(inputs, output)
    jobs = []
    seen: set[Path] = set()
    for path, below in _found(inputs, recursive, folder):
        if path in seen:  # named twice, or by two patterns
            continue
        seen.add(path)
        if in_place:
            target = path
        elif folder is not None:
            target = folder / below.with_suffix(output_suffix(path))
        else:
            target = Path(output) if output is not None else default_output(path)
        noise = target.with_name(f"{path.stem}_noise.wav") if save_noise else None
        jobs.append(Job(path, target, noise, in_tree=folder is not None))
    if not jobs:
        raise UserError(f"there is nothing to clean in {', '.join(map(str, inputs))}")
    _refuse_collisions(jobs)
    return jobs


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
        return [job for job in jobs if not all(path.exists() for path in job.outputs)]
    inputs = {job.input for job in jobs}  # of a job in place, the output is there of course
    existing = [path for job in jobs for path in job.outputs if path.exists()]
    existing = [path for path in existing if path not in inputs]
    if existing and len(jobs) > 1:
        more = f" and {len(existing) - 1} more outputs exist" if existing[1:] else " exists"
        raise UserError(
            f"{existing[0]}{more} already: leave what exists with --skip-existing, or replace it "
            f"by --force"
        )
    return list(jobs)


def output_suffix(path: Path) -> str:
    """The ending of an output that is called like its input: its own, if it can be written."""
    try:
        choose_format(path, "PCM_16")
    except UserError:
        return default_output(path).suffix
    return path.suffix


def _output_folder(inputs: Sequence[str], output: str | None) -> Path | None:
    """The folder that ``output`` names, if it is one."""
    if output is None:
        return None
    path = Path(output)
    single = len(inputs) == 1 and not Path(inputs[0]).is_dir() and not _is_pattern(inputs[0])
    if path.is_dir() or output.endswith(("/", os.sep)):
        return path
    if single:
        return None
    if path.exists():
        raise UserError(f"{path} is a file, and there are several inputs: give a folder")
    return path


def _found(
    inputs: Sequence[str], recursive: bool, folder: Path | None
) -> Iterator[tuple[Path, Path]]:
    """Each file with its place below the folder that it was found in."""
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            yield from _in_folder(path, recursive, folder)
        elif _is_pattern(name):
            # Path.glob takes no absolute patterns.
            matches = sorted(map(Path, glob.glob(name, recursive=True)))  # noqa: PTH207
            if not matches:
                raise UserError(f"no file fits {name}: check the pattern and the folder")
            root = _fixed_part(name)
            yield from ((match, match.relative_to(root)) for match in matches if match.is_file())
        else:
            yield path, Path(path.name)  # missing ones, too: they fail in their turn


def _in_folder(root: Path, recursive: bool, folder: Path | None) -> Iterator[tuple[Path, Path]]:
    """The recordings in a folder; not hidden files, and not the results of an earlier run."""
    found = []
    for parent, folders, names in os.walk(root):
        here = Path(parent)
        hidden = {name for name in folders if name.startswith(".")}
        outputs = {name for name in folders if folder and same_file(here / name, folder)}
        folders[:] = sorted(set(folders) - hidden - outputs) if recursive else []
        found += [
            here / name
            for name in names
            if Path(name).suffix.lower() in MEDIA_EXTENSIONS and not name.startswith(".")
        ]
    if folder is None:
        found = [path for path in found if not path.stem.endswith(_RESULTS)]
    if not found:
        more = "" if recursive else ": add --recursive to take the folders inside it, too"
        raise UserError(f"{root} is a folder without recordings{more or ': give another one'}")
    yield from ((path, path.relative_to(root)) for path in sorted(found))


def _is_pattern(name: str) -> bool:
    """Whether a name is a pattern: it has a wildcard, and no file is called so."""
    return glob.has_magic(name) and not Path(name).exists()


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
            other = writers.setdefault(path.resolve(), job)
            if other is not job:
                raise UserError(
                    f"{other.input} and {job.input} both lead to {path}: clean them one by one, "
                    f"or into a folder of their own with -o FOLDER"
                )
    for job in jobs:
        reader = writers.get(job.input.resolve())
        if reader is not None and reader is not job:
            raise UserError(
                f"the output of {reader.input} would be {job.input}, which is an input itself: "
                f"choose a folder for the outputs with -o FOLDER"
            )
