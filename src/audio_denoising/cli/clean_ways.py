"""The ways in which `denoise clean` works: one recording, many, on a cluster, through a pipe."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.console import Console

from audio_denoising.cleaning.batch import Outcome
from audio_denoising.cleaning.target import Target
from audio_denoising.cli.clean_report import (
    console,
    errors,
    print_many,
    print_outputs,
    print_sum,
    print_troubles,
)
from audio_denoising.errors import UserError
from audio_denoising.files import require_file

if TYPE_CHECKING:
    from audio_denoising.cleaning.jobs import Job
    from audio_denoising.cleaning.pipe import Raw
    from audio_denoising.cleaning.recording import Report
    from audio_denoising.cleaning.settings import Settings
    from audio_denoising.cleaning.stream import Progress
    from audio_denoising.cleaning.tasks import Task


def clean_one(job: Job, settings: Settings) -> int:
    """Cleans one recording; its errors are those of the command."""
    outcome = _single(job, settings, console)
    print_outputs(outcome.job, style="bold")
    print_sum([outcome], console)
    print_troubles(outcome)
    return int(outcome.failed)


def clean_many(jobs: Sequence[Job], settings: Settings, workers: int) -> int:
    """Cleans recordings; names those that failed at the end."""
    started = time.perf_counter()
    outcomes = _outcomes(jobs, settings, workers, console)
    return print_many(outcomes, time.perf_counter() - started)


def clean_on_ray(
    tasks: Sequence[Task], settings: Settings, address: str, workers: int | None
) -> int:
    """Cleans recordings on a cluster; names those that failed at the end."""
    from rich.progress import track

    from audio_denoising.cleaning.cluster import connected, run

    results = []
    with connected(address), closing(run(tasks, settings, jobs=workers)) as done:
        started = time.perf_counter()
        for result in track(
            done,
            "All files",
            len(tasks),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            results.append(result)
            if result.report is not None:
                print_outputs(result.task)
        elapsed = time.perf_counter() - started
    return print_many(results, elapsed)


def clean_pipe(input: str, output: str | None, raw: Raw | None, settings: Settings) -> int:
    """Cleans what comes through a pipe, or into one; standard output carries nothing else then."""
    from audio_denoising.cleaning.jobs import Job
    from audio_denoising.cleaning.pipe import PIPE, file_for, pour, spool

    into_pipe = output in (None, PIPE)
    if (input == PIPE and sys.stdin.isatty()) or (into_pipe and sys.stdout.isatty()):
        raise UserError("- is for pipes, not for a terminal: denoise clean - < in.wav > out.wav")
    if not into_pipe:  # before all that comes is read
        Target(Path(output or ""), force=settings.force).check(Path(input))
    with TemporaryDirectory(prefix="denoise-") as name:
        folder = f"{name}{os.sep}"  # messages speak of the standard input, not of where it is kept
        try:
            source = spool(sys.stdin.buffer, Path(name), raw) if input == PIPE else Path(input)
            target = (
                file_for("standard output", Path(name), raw) if into_pipe else Path(output or "")
            )
            outcome = _single(Job(source, target), settings, errors if into_pipe else console)
            if into_pipe:
                pour(target, sys.stdout.buffer, raw)
        except UserError as error:
            raise UserError(str(error).replace(folder, "")) from error
    if not into_pipe:
        print_outputs(outcome.job, style="bold")
    print_sum([outcome], errors if into_pipe else console)
    print_troubles(outcome, hidden=folder)
    return int(outcome.failed)


def _single(job: Job, settings: Settings, console: Console) -> Outcome:
    """The outcome of a single recording, whose error is raised."""
    (outcome,) = _outcomes([job], settings, 1, console)
    if outcome.error is not None:
        raise outcome.error
    return outcome


def _outcomes(
    jobs: Sequence[Job], settings: Settings, workers: int, console: Console
) -> list[Outcome]:
    """Runs the jobs under a live display; prints the outputs of many as they are complete."""
    outcomes = []
    ready = []
    for job in jobs:  # before torch and the network are loaded: a wrong name is told at once
        try:
            require_file(job.input)
            Target(job.output, job.noise, settings.force, settings.in_place).check(job.input)
            ready.append(job)
        except UserError as error:
            outcomes.append(Outcome(job, error=error))
    if not ready:
        return outcomes
    if len(jobs) == 1:  # likewise a file that holds no sound
        from audio_denoising.media.reading import AudioReader

        AudioReader(jobs[0].input).close()
    import torch

    from audio_denoising.cleaning.batch import run
    from audio_denoising.cleaning.display import CleaningDisplay

    denoiser = settings.load()
    workers = min(workers, len(ready))
    if workers > 1:  # or the files would fight for the cores
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    with CleaningDisplay(console, len(ready)) as display:

        def clean_job(job: Job, progress: Progress) -> Report:
            return settings.clean(denoiser, job, progress)

        for outcome in run(ready, clean_job, display.begin, workers=workers):
            display.end(outcome)
            outcomes.append(outcome)
            if outcome.report is not None and len(jobs) > 1:
                print_outputs(outcome.job)
    return outcomes
