"""The `denoise clean` command: recordings of any kind in, the same without the noise out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, track

from audio_denoising.cleaning import folder
from audio_denoising.cleaning.settings import Job, Settings
from audio_denoising.cli.options import device_option
from audio_denoising.counting import counted
from audio_denoising.errors import UserError, as_typed
from audio_denoising.files import require_file
from audio_denoising.models.shipped import DEFAULT

if TYPE_CHECKING:
    from audio_denoising.cleaning.batch import Outcome
    from audio_denoising.cleaning.recording import Report

console = Console(highlight=False, emoji=False)
errors = Console(stderr=True, highlight=False, emoji=False)

_PIPE = "-"
_WORK = "Network and machine"
_amount = partial(typer.Option, rich_help_panel="How much")
_files = partial(typer.Option, rich_help_panel="Files")
_work = partial(typer.Option, rich_help_panel=_WORK)


def clean(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Audio or video files, folders, patterns such as 'talks/*.mp3', or - for a pipe.",
            metavar="INPUT",
            show_default=False,
        ),
    ],
    strength: Annotated[
        str,
        _amount(help="Percent of the noise to remove: s·clean + (1-s)·noisy.", metavar="PERCENT"),
    ] = "100",
    limit: Annotated[
        str | None,
        _amount(
            help="Turn noise down by so many decibels at most.",
            metavar="DB",
            show_default="no limit",
        ),
    ] = None,
    output: Annotated[
        str | None,
        _files(
            "--output",
            "-o",
            help="File to write, or folder for many.",
            metavar="PATH",
            show_default="INPUT_denoised.wav",
        ),
    ] = None,
    save_noise: Annotated[
        bool,
        _files("--save-noise", help="Write what is taken out to NAME_noise beside the output."),
    ] = False,
    recursive: Annotated[
        bool, _files("--recursive", "-r", help="Take the folders inside folders, too.")
    ] = False,
    skip_existing: Annotated[
        bool, _files("--skip-existing", help="Leave out inputs whose output is there.")
    ] = False,
    in_place: Annotated[
        bool, _files("--in-place", help="Replace the inputs by their cleaned form.")
    ] = False,
    force: Annotated[bool, _files("--force", help="Replace existing outputs.")] = False,
    raw: Annotated[
        str | None,
        _files(
            help="A pipe carries bare samples (16-bit little-endian), at so many a second in so "
            "many channels.",
            metavar="RATE,CHANNELS",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str,
        _work(
            help="v5, v4, v3, v2, torch, or a checkpoint of `denoise train`.",
            metavar="VERSION|FILE",
        ),
    ] = DEFAULT,
    device: Annotated[str, device_option(_WORK)] = "auto",
    jobs: Annotated[
        int | None,
        _work(
            "--jobs",
            "-j",
            help="Files to clean at once.",
            metavar="N",
            show_default="1; with --ray one for each core",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        _work(
            metavar="ADDRESS",
            help="Clean on a Ray cluster (its address, or auto), or on a Ray started here (local). "
            "Inputs and output may be addresses then (s3://...); outputs that exist are left out.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Denoise recordings of any length, sample rate and channel count.

    Examples:
      denoise clean examples/noisy_street.wav
      denoise clean examples/noisy_rain.wav --strength 80 -o rain.flac
      denoise clean examples -o cleaned --jobs 2
    """
    percent = _number(strength, "%", "--strength")
    decibels = None if limit is None else _number(limit, "dB", "--limit")
    settings = Settings(model, device, percent, decibels, force, in_place)
    if jobs is not None and jobs < 1:
        raise UserError("--jobs must be above 0")
    if in_place and skip_existing:
        raise UserError("--skip-existing would skip all that --in-place is to replace")
    pipe = _PIPE in (*inputs, output)
    if ray is not None:
        if pipe or raw or in_place:
            raise UserError("--ray goes without pipes, --raw and --in-place: name files and -o")
        raise typer.Exit(_clean_on_ray(inputs, output, recursive, save_noise, settings, ray, jobs))
    if pipe:
        if len(inputs) > 1 or save_noise or in_place or skip_existing:
            raise UserError(
                "- is one pipe: it goes without other inputs, and without --save-noise, "
                "--in-place and --skip-existing"
            )
        raise typer.Exit(_clean_pipe(inputs[0], output, raw, settings))
    if raw:
        raise UserError("--raw tells what comes through a pipe: it goes with - as the input")
    planned, left_out = folder.plan(
        inputs, output, recursive=recursive, in_place=in_place, save_noise=save_noise
    )
    waiting = folder.pending(planned, force=force, skip_existing=skip_existing)
    _print_left_out(left_out, len(planned), len(waiting))
    if len(planned) == 1 and waiting:
        report = _clean_one(waiting[0], settings, console)
        _print_outputs(waiting[0], style="bold")
        _print_sum([report], console, report.elapsed)
        _print_troubles(report, report.damage)
        raise typer.Exit(int(bool(report.damage)))
    if waiting:
        from audio_denoising.cleaning.batch import clean_all

        raise typer.Exit(_print_many(clean_all(waiting, settings, jobs or 1, console)))


def _number(text: str, unit: str, option: str) -> float:
    """A number that a user typed, with its unit or without: ``80`` and ``80%``, ``12 dB``."""
    try:
        return float(text.strip().lower().removesuffix(unit.lower()))
    except ValueError as error:
        raise UserError(f"{option} {text} is not a number: give one, such as 12 or 80") from error


def _clean_one(job: Job, settings: Settings, console: Console) -> Report:
    """Cleans one recording under a bar; its errors are those of the command."""
    require_file(job.input)  # before torch and the network are loaded: a wrong name is told at once
    job.check(force=settings.force, in_place=settings.in_place)
    denoiser = settings.load()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(f"Cleaning {escape(Path(job.input).name)}", total=None)
        return settings.clean(
            denoiser, job, lambda done, total: bars.update(bar, completed=done, total=total)
        )


def _clean_pipe(input: str, output: str | None, raw: str | None, settings: Settings) -> int:
    """Cleans what comes through a pipe, or into one; standard output carries nothing else then."""
    from audio_denoising.cleaning.pipe import Raw, clean_pipe

    screen = errors if output in (None, _PIPE) else console
    bare = Raw.parse(raw) if raw else None
    report = clean_pipe(
        input, output, bare, settings.force, lambda job: _clean_one(job, settings, screen)
    )
    if output is not None and screen is console:
        _print_outputs(Job(input, output), style="bold")
    _print_sum([report], screen, report.elapsed)
    _print_troubles(report, report.damage)
    return int(bool(report.damage))


def _clean_on_ray(
    inputs: Sequence[str],
    output: str | None,
    recursive: bool,
    save_noise: bool,
    settings: Settings,
    address: str,
    jobs: int | None,
) -> int:
    """Cleans recordings on a cluster, but for those whose outputs exist."""
    from audio_denoising.cleaning import cluster

    planned, left_out = cluster.plan(inputs, output, recursive=recursive, save_noise=save_noise)
    waiting = planned if settings.force else cluster.pending(planned, output)
    _print_left_out(left_out, len(planned), len(waiting))
    if not waiting:
        return 0
    with cluster.connected(address), closing(cluster.run(waiting, settings, at_once=jobs)) as done:
        return _print_many(
            track(
                done,
                "All files",
                len(waiting),
                console=console,
                transient=True,
                disable=not console.is_terminal,
            )
        )


def _print_many(outcomes: Iterable[Outcome]) -> int:
    """The outputs as they come, the sum, what failed, and the exit code that says so."""
    started = time.perf_counter()
    ended = []
    for outcome in outcomes:
        ended.append(outcome)
        if outcome.report is not None:
            _print_outputs(outcome.job)
    reports = [outcome.report for outcome in ended if outcome.report is not None]
    _print_sum(reports, console, time.perf_counter() - started, len(ended))
    for outcome in ended:
        _print_troubles(outcome.report, outcome.sentence)
    failed = sum(outcome.failed for outcome in ended)
    if failed:
        errors.print(f"{failed} of {counted(len(ended), 'file')} failed or came out incomplete")
    return int(failed > 0)


def _print_outputs(job: Job, style: str | None = None) -> None:
    """The files that were written."""
    for output in job.outputs:
        console.print(output, style=style, markup=False, soft_wrap=True)


def _print_left_out(told: Sequence[str], planned: int, waiting: int) -> None:
    """What is not cleaned: the sentences told, and how many inputs have their outputs already."""
    for sentence in told:
        console.print(sentence, markup=False, soft_wrap=True)
    if waiting < planned:
        there = planned - waiting
        console.print(f"{there} of {counted(planned, 'file')} left out: the output exists")


def _print_sum(reports: Sequence[Report], screen: Console, elapsed: float, files: int = 1) -> None:
    """How much sound was cleaned, how fast and by what."""
    if not reports:
        return
    many = f"{counted(len(reports), 'file')}, " if files > 1 else ""
    seconds = sum(report.seconds for report in reports)
    screen.print(
        f"{many}{seconds:.1f} s of audio in {elapsed:.1f} s (real-time factor "
        f"{elapsed / seconds:.3f}), model {reports[0].model}, device {reports[0].device}",
        soft_wrap=True,
    )


def _print_troubles(report: Report | None, sentence: str) -> None:
    """What the user should know."""
    lines = [f"Warning: {warning}" for warning in report.warnings] if report else []
    if sentence:
        lines.append(f"{'Warning' if report else 'Error'}: {sentence}")
    for line in lines:
        errors.print(as_typed(line), markup=False, soft_wrap=True)
