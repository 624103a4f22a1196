"""What a cluster cleans and where it goes: `jobs.plan` for recordings by path or by address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from audio_denoising.cleaning import jobs
from audio_denoising.cleaning.places import Place, existing, found, is_address
from audio_denoising.errors import UserError
from audio_denoising.media.formats import MEDIA_EXTENSIONS


@dataclass(frozen=True)
class Task:
    """One recording to clean, anywhere; the attributes are those of `jobs.Job`."""

    input: Place
    output: Place
    noise: Place | None = None

    @property
    def outputs(self) -> tuple[Place, ...]:
        """All files it writes."""
        return (self.output,) if self.noise is None else (self.output, self.noise)


def plan(
    inputs: Sequence[str],
    output: str | None = None,
    *,
    recursive: bool = False,
    save_noise: bool = False,
) -> tuple[list[Task], tuple[str, ...]]:
    """Lists the recordings behind ``inputs``, in their order, each with its outputs.

    Sentences on what was found and is left out come with them.

    Args:
        inputs: files, folders and patterns, by path or by address.
        output: as for `jobs.plan`. With an address among all these it is a folder, and needed.
        recursive: take the folders inside folders, too.
        save_noise: what is taken out goes beside the output, see `jobs.noise_beside`.

    Raises:
        UserError: there is nothing to clean, two inputs lead to one output, or storage cannot be
            asked.
    """
    inputs = [text.removeprefix("file://") for text in inputs]
    output = output and output.removeprefix("file://")
    if not any(map(is_address, (*inputs, output or ""))):
        planned = jobs.plan(inputs, output, recursive=recursive, save_noise=save_noise)
        here = [
            Task(_here(job.input), _here(job.output), _here(job.noise) if job.noise else None)
            for job in planned.jobs
        ]
        return here, planned.left_out
    if output is None:
        raise UserError(f"{inputs[0]} needs a folder for the results: give one with -o")
    if PurePosixPath(output).suffix.lower() in MEDIA_EXTENSIONS:
        raise UserError(f"{output} looks like a file: with addresses, give a folder with -o")
    folder = output.rstrip("/") if is_address(output) else str(Path(output).absolute())
    tasks = {}
    left_out: list[str] = []
    for text in inputs:
        places = dict(found(text if is_address(text) else str(Path(text).absolute()), recursive))
        made = set(jobs.results(list(places.values())))
        left_out += jobs.told(sorted(made))
        for place, below in places.items():
            if below in made or place.text.startswith(f"{folder}/"):  # an earlier run's
                continue
            target = below.with_suffix(jobs.output_suffix(below))
            noise = jobs.noise_beside(target)
            tasks[place] = Task(  # once, even if named twice
                place,
                Place(f"{folder}/{target}"),
                Place(f"{folder}/{noise}") if save_noise else None,
            )
    if not tasks:
        raise UserError(f"there is nothing to clean in {', '.join(inputs)}")
    _refuse_collisions(list(tasks.values()))
    return list(tasks.values()), tuple(left_out)


def pending(tasks: Sequence[Task], output: str | None) -> list[Task]:
    """The tasks whose outputs are not all there.

    Raises:
        UserError: storage cannot be asked.
    """
    there = existing([place for task in tasks for place in task.outputs], output or "")
    return [task for task in tasks if not there.issuperset(task.outputs)]


def _here(path: Path) -> Place:
    """A path that holds on a worker, wherever it was started."""
    return Place(str(path.absolute()))


def _refuse_collisions(tasks: Sequence[Task]) -> None:
    """No file may be written twice, or be written while it is another's input."""
    writers: dict[Place, Task] = {}
    for task in tasks:
        for place in task.outputs:
            other = writers.setdefault(place, task)
            if other is not task:
                raise UserError(
                    f"{other.input} and {task.input} both lead to {place}: clean them one by one"
                )
    for task in tasks:
        if task.input in writers:
            raise UserError(
                f"the output of {writers[task.input].input} would be {task.input}, which is an "
                f"input itself: choose another folder with -o"
            )
