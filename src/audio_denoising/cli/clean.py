"""The `denoise clean` command: recordings of any kind in, the same without the noise out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from audio_denoising.cleaning.plan import pending, plan
from audio_denoising.cleaning.settings import Job, Settings, checked_rate
from audio_denoising.cli.options import device_option, option, require_usable
from audio_denoising.device import refuse_absent
from audio_denoising.errors import UserError, as_typed, counted
from audio_denoising.models.versions import DEFAULT, locate
from audio_denoising.paths import require_file

if TYPE_CHECKING:
    from audio_denoising.cleaning.cleaner import Cleaner
    from audio_denoising.cleaning.recording import Report

    Load = Callable[[], Cleaner]

console = Console(highlight=False, emoji=False)
errors = Console(stderr=True, highlight=False, emoji=False)

_PIPE = "-"
_WORK = "Network and machine"
_amount, _files, _work = (partial(option, panel) for panel in ("How much", "Files", _WORK))


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
        str, _amount("Percent of the noise to remove: s·clean + (1-s)·noisy.", "PERCENT")
    ] = "100",
    limit: Annotated[
        str | None, _amount("Turn noise down by so many decibels at most.", "DB", "no limit")
    ] = None,
    output: Annotated[
        str | None,
        _files("File to write, or folder for many.", "PATH", "INPUT_denoised.wav", "--output -o"),
    ] = None,
    save_noise: Annotated[
        bool,
        _files("Write what is taken out to NAME_noise beside the output.", names="--save-noise"),
    ] = False,
    recursive: Annotated[
        bool, _files("Take the folders inside folders, too.", names="--recursive -r")
    ] = False,
    skip_existing: Annotated[
        bool, _files("Leave out inputs whose output is there.", names="--skip-existing")
    ] = False,
    in_place: Annotated[
        bool, _files("Replace the inputs by their cleaned form.", names="--in-place")
    ] = False,
    force: Annotated[bool, _files("Replace existing outputs.", names="--force")] = False,
    raw: Annotated[
        str | None,
        _files(
            "A pipe carries bare samples, at so many a second in so many channels; FORMAT is "
            "s16le (the default) or f32le.",
            "RATE,CHANNELS[,FORMAT]",
        ),
    ] = None,
    model: Annotated[
        str, _work("v5, v4, v3, v2, torch, or a checkpoint of `denoise train`.", "VERSION|FILE")
    ] = DEFAULT,
    device: Annotated[str, device_option(_WORK, elsewhere=True)] = "auto",
    jobs: Annotated[
        int | None,
        _work("Files to clean at once.", "N", "1; with --ray one for each core", "--jobs -j"),
    ] = None,
    ray: Annotated[
        str | None,
        _work(
            "Clean on a Ray cluster (its address, or auto), or on a Ray started here (local). "
            "Inputs and output may be addresses then (s3://...); outputs that exist are left out.",
            "ADDRESS",
        ),
    ] = None,
) -> None:
    """Denoise recordings of any length, sample rate and channel count.

    A WAV or --raw samples that come through a pipe are cleaned as they come; all else waits for its
    end, and so does every --model but v5 and its like.

    Examples:
      denoise clean examples/noisy_street.wav
      denoise clean examples/noisy_rain.wav --strength 80 -o rain.flac
      denoise clean examples -o cleaned --jobs 2
    """
    percent = _number(strength, "%", "--strength")
    decibels = None if limit is None else _number(limit, "dB", "--limit")
    settings = Settings(percent, decibels, force, in_place, salvage=not in_place)
    locate(model)

    @cache
    def load() -> Cleaner:
        from audio_denoising.cleaning.cleaner import load_cleaner

        return load_cleaner(model, device=device)

    if ray in (None, "local"):
        refuse_absent(device)
    if jobs is not None and jobs < 1:
        raise UserError("--jobs must be above 0")
    if in_place and skip_existing:
        raise UserError("--skip-existing would skip all that --in-place is to replace")
    pipe = _PIPE in (*inputs, output)
    if ray is not None and (pipe or raw or in_place):
        raise UserError("--ray goes without pipes, --raw and --in-place: name files and -o")
    if pipe and (len(inputs) > 1 or save_noise or in_place or skip_existing):
        raise UserError(
            "- is one pipe: it goes without other inputs, and without --save-noise, --in-place and "
            "--skip-existing"
        )
    if pipe:
        raise typer.Exit(_clean_pipe(inputs[0], output, raw, settings, model, load))
    if raw:
        raise UserError("--raw tells what comes through a pipe: it goes with - as the input")
    if ray is not None:
        from audio_denoising.cleaning import storage

        planned, left_out = storage.plan(inputs, output, recursive, save_noise)
        waiting = planned if force else storage.pending(planned, output)
    else:
        planned, left_out = plan(
            inputs, output, recursive=recursive, in_place=in_place, save_noise=save_noise
        )
        waiting = pending(planned, force=force, skip_existing=skip_existing)
    for sentence in left_out:
        console.print(sentence, markup=False, soft_wrap=True)
    if len(waiting) < len(planned):
        there = len(planned) - len(waiting)
        console.print(f"{there} of {counted(len(planned), 'file')} left out: the output exists")
    if not waiting:
        return
    if ray is not None:
        from audio_denoising.cli.clean_many import clean_on_cluster

        require_usable(model)
        if len(planned) == 1 and not storage.is_address(waiting[0].input):
            _require_sound(waiting[0].input)
        raise typer.Exit(clean_on_cluster(waiting, settings, ray, model, device, jobs or 0))
    if len(planned) == 1:
        report = _clean_one(waiting[0], settings, load, console)
        raise typer.Exit(_finish_one(report, waiting[0].outputs, console))
    from audio_denoising.cli.clean_many import clean_here

    raise typer.Exit(clean_here(waiting, settings, load, jobs or 1))


def _number(text: str, unit: str, option: str) -> float:
    """A number that a user typed, with its unit or without: ``80`` and ``80%``, ``12 dB``."""
    try:
        return float(text.strip().lower().removesuffix(unit.lower()))
    except ValueError as error:
        raise UserError(f"{option} {text} is not a number: give one, such as 12 or 80") from error


def _clean_one(job: Job, settings: Settings, load: Load, screen: Console) -> Report:
    """Cleans one recording under a bar; its errors are those of the command."""
    require_file(job.input)
    job.check(settings)
    _require_sound(job.input)
    from rich.markup import escape
    from rich.progress import Progress

    from audio_denoising.cleaning.recording import clean_recording

    cleaner = load()
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bars:
        bar = bars.add_task(f"Cleaning {escape(Path(job.input).name)}", total=None)
        return clean_recording(
            cleaner,
            job,
            settings,
            lambda done, total: bars.update(bar, completed=done, total=total),
        )


def _require_sound(name: str) -> None:
    """Refuses a file that cannot be cleaned, before torch, the network or Ray is loaded."""
    from audio_denoising.media.reading import AudioReader

    with AudioReader(name) as reader:
        checked_rate(reader.rate)


def _clean_pipe(
    input: str, output: str | None, raw: str | None, settings: Settings, model: str, load: Load
) -> int:
    """Cleans what comes through a pipe, or into one; standard output carries nothing else then."""
    from audio_denoising.cleaning.pipe import clean_pipe, parse_raw

    bare = parse_raw(raw) if raw else None
    written = () if output is None or output == _PIPE else (output,)
    screen = console if written else errors

    def load_causal() -> Cleaner | None:
        return load() if require_usable(model).causal else None

    report = clean_pipe(
        input,
        output,
        bare,
        settings,
        load_causal,
        lambda job: _clean_one(job, settings, load, screen),
    )
    return _finish_one(report, written, screen)


def _finish_one(report: Report, written: Sequence[str], screen: Console) -> int:
    """Tells what was written, how long it took and what was wrong; the exit code says so, too."""
    for path in written:
        screen.print(path, style="bold", markup=False, soft_wrap=True)
    screen.print(told_sum([report], report.elapsed), soft_wrap=True)
    print_troubles(report, report.damage)
    return int(bool(report.damage))


def told_sum(reports: Sequence[Report], elapsed: float) -> str:
    """How much sound was cleaned, how fast and by what."""
    seconds = sum(report.seconds for report in reports)
    return (
        f"{seconds:.1f} s of audio in {elapsed:.1f} s (real-time factor {elapsed / seconds:.3f}), "
        f"model {reports[0].model}, device {reports[0].device}"
    )


def print_troubles(report: Report | None, sentence: str) -> None:
    """What the user should know."""
    lines = [f"Warning: {warning}" for warning in report.warnings] if report else []
    if sentence:
        lines.append(f"{'Warning' if report else 'Error'}: {sentence}")
    for line in lines:
        errors.print(as_typed(line), markup=False, soft_wrap=True)
