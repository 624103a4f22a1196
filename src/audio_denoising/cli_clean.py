"""The `denoise clean` command: recordings of any kind in, the same without the noise out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .errors import UserError

if TYPE_CHECKING:
    from .cleaning.batch import Outcome
    from .cleaning.cluster import Result
    from .cleaning.jobs import Job
    from .cleaning.pipe import Raw
    from .cleaning.recording import Report
    from .cleaning.settings import Settings
    from .cleaning.stream import Progress
    from .cleaning.tasks import Task

console = Console(highlight=False, emoji=False)
errors = Console(stderr=True, highlight=False, emoji=False)


def clean(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Audio or video files, folders, patterns such as 'talks/*.mp3', or - for a pipe.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write, or folder for many. Default: INPUT_denoised.wav",
            show_default=False,
        ),
    ] = None,
    strength: Annotated[
        float, typer.Option(help="Percent of the noise to remove: s·clean + (1-s)·noisy.")
    ] = 100.0,
    limit: Annotated[
        float | None,
        typer.Option(help="Turn noise down by this many dB at most.", show_default=False),
    ] = None,
    save_noise: Annotated[
        bool, typer.Option("--save-noise", help="Write what is taken out to NAME_noise.wav.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Take the folders inside folders, too.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out inputs whose output is there.")
    ] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace the inputs by their cleaned form.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            help="Files to clean at once. Default: 1, with --ray one for each core.",
            show_default=False,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Clean on a Ray cluster (its address, or auto), or on a Ray started here (local). "
            "Inputs and output may be addresses then (s3://...); outputs that exist are left out.",
            show_default=False,
        ),
    ] = None,
    raw: Annotated[
        str | None,
        typer.Option(
            help="RATE,CHANNELS of a pipe of bare samples (16-bit little-endian).",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Version (v2, v3, v4, torch) or a checkpoint file.")
    ] = "v4",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32, or bf16: faster where the processor has it.")
    ] = "fp32",
    force: Annotated[bool, typer.Option("--force", help="Replace existing outputs.")] = False,
) -> None:
    """Denoise recordings of any length, sample rate and channel count.

    Example: [bold]denoise clean meeting.flac -o meeting_clean.flac[/bold]
    """
    from .cleaning.waiting import wait_briefly

    wait_briefly()  # before any of these loads torch
    from .cleaning import jobs as planning
    from .cleaning.pipe import PIPE, Raw
    from .cleaning.settings import Settings

    settings = Settings(model, device, precision, strength, limit, force, in_place)
    if jobs is not None and jobs < 1:
        raise UserError("--jobs must be above 0")
    if in_place and skip_existing:
        raise UserError("--skip-existing would skip all that --in-place is to replace")
    if ray is not None:
        if PIPE in (*inputs, output) or raw or in_place:
            raise UserError("--ray goes without pipes, --raw and --in-place: name files and -o")
        from .cleaning import tasks as corpus

        found = corpus.plan(inputs, output, recursive=recursive, save_noise=save_noise)
        missing = found if force else corpus.pending(found, output)
        _print_left_out(len(found), len(missing))
        raise typer.Exit(_clean_on_ray(missing, settings, ray, jobs) if missing else 0)
    if PIPE in (*inputs, output):
        if len(inputs) > 1 or save_noise or in_place or skip_existing:
            raise UserError(
                "- is one pipe: it goes without other inputs, and without --save-noise, "
                "--in-place and --skip-existing"
            )
        code = _clean_pipe(inputs[0], output, Raw.parse(raw) if raw else None, settings)
        raise typer.Exit(code)
    if raw:
        raise UserError("--raw tells what comes through a pipe: it goes with - as the input")
    planned = planning.plan(
        inputs, output, recursive=recursive, in_place=in_place, save_noise=save_noise
    )
    waiting = planning.pending(planned, force=force, skip_existing=skip_existing)
    _print_left_out(len(planned), len(waiting))
    if len(planned) == 1 and waiting:
        raise typer.Exit(_clean_one(waiting[0], settings))
    if waiting:
        raise typer.Exit(_clean_many(waiting, settings, jobs or 1))


def _clean_one(job: Job, settings: Settings) -> int:
    """Cleans one recording; its errors are those of the command."""
    outcome = _single(job, settings, console)
    console.print(str(outcome.job.output), style="bold", markup=False, soft_wrap=True)
    _print_sum([outcome], console)
    _print_troubles(outcome)
    return int(outcome.failed)


def _clean_many(jobs: Sequence[Job], settings: Settings, workers: int) -> int:
    """Cleans recordings; names those that failed at the end."""
    started = time.perf_counter()
    outcomes = _outcomes(jobs, settings, workers, console)
    return _print_many(outcomes, time.perf_counter() - started)


def _clean_on_ray(
    tasks: Sequence[Task], settings: Settings, address: str, workers: int | None
) -> int:
    """Cleans recordings on a cluster; names those that failed at the end."""
    from rich.progress import track

    from .cleaning.cluster import connected, run

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
                console.print(str(result.task.output), markup=False, soft_wrap=True)
        elapsed = time.perf_counter() - started
    return _print_many(results, elapsed)


def _print_many(outcomes: Sequence[Outcome | Result], elapsed: float) -> int:
    """The sum, what failed, and the exit code that says so."""
    _print_sum(outcomes, console, elapsed)
    for outcome in outcomes:
        _print_troubles(outcome)
    failed = sum(outcome.failed for outcome in outcomes)
    if failed:
        errors.print(f"{failed} of {_files(len(outcomes))} failed or came out incomplete")
    return int(failed > 0)


def _clean_pipe(input: str, output: str | None, raw: Raw | None, settings: Settings) -> int:
    """Cleans what comes through a pipe, or into one; standard output carries nothing else then."""
    from .cleaning.jobs import Job
    from .cleaning.pipe import PIPE, file_for, pour, spool

    into_pipe = output in (None, PIPE)
    if (input == PIPE and sys.stdin.isatty()) or (into_pipe and sys.stdout.isatty()):
        raise UserError("- is for pipes, not for a terminal: denoise clean - < in.wav > out.wav")
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
        console.print(str(target), style="bold", markup=False, soft_wrap=True)
    _print_sum([outcome], errors if into_pipe else console)
    _print_troubles(outcome, hidden=folder)
    return int(outcome.failed)


def _single(job: Job, settings: Settings, console: Console) -> Outcome:
    """The outcome of a single recording, whose error is raised."""
    from .cleaning.recording import Target
    from .io.reading import AudioReader

    with AudioReader(job.input):  # before the model: a wrong name should fail at once
        job.make_folder()
        Target(job.output, job.noise, settings.force, settings.in_place).check(job.input)
    (outcome,) = _outcomes([job], settings, 1, console)
    if outcome.error is not None:
        raise outcome.error
    return outcome


def _outcomes(
    jobs: Sequence[Job], settings: Settings, workers: int, console: Console
) -> list[Outcome]:
    """Runs the jobs under a live display; prints each output of many as it is complete."""
    import torch

    from .cleaning.batch import run
    from .cleaning.display import CleaningDisplay

    denoiser = settings.load()
    workers = min(workers, len(jobs))
    if workers > 1:  # or the files would fight for the cores
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    outcomes = []
    with CleaningDisplay(console, len(jobs)) as display:

        def clean_job(job: Job, progress: Progress) -> Report:
            return settings.clean(denoiser, job, progress)

        for outcome in run(jobs, clean_job, display.begin, workers=workers):
            display.end(outcome)
            outcomes.append(outcome)
            if outcome.report is not None and len(jobs) > 1:
                console.print(str(outcome.report.output), markup=False, soft_wrap=True)
    return outcomes


def _print_left_out(planned: int, waiting: int) -> None:
    if waiting < planned:
        there = planned - waiting
        console.print(f"{there} of {_files(planned)} left out: the output exists")


def _print_sum(
    outcomes: Sequence[Outcome | Result], console: Console, elapsed: float = 0.0
) -> None:
    reports = [outcome.report for outcome in outcomes if outcome.report is not None]
    if not reports:
        return
    many = f"{_files(len(reports))}, " if len(outcomes) > 1 else ""
    elapsed = elapsed or reports[0].elapsed
    seconds = sum(report.seconds for report in reports)
    console.print(
        f"{many}{seconds:.1f} s of audio in {elapsed:.1f} s (real-time factor "
        f"{elapsed / seconds:.3f}), model {reports[0].model}, device {reports[0].device}",
        soft_wrap=True,
    )


def _print_troubles(outcome: Outcome | Result, hidden: str = "") -> None:
    """What the user should know; ``hidden`` is a folder that is nobody's business."""
    told = [f"Warning: {warning}" for warning in outcome.report.warnings] if outcome.report else []
    if outcome.sentence:
        told.append(f"{'Warning' if outcome.report else 'Error'}: {outcome.sentence}")
    for line in told:
        text = line.replace(hidden, "") if hidden else line
        errors.print(text, markup=False, soft_wrap=True)


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
