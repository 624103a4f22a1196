"""The `denoise clean` command: recordings of any kind in, the same without the noise out."""

from __future__ import annotations

from typing import Annotated

import typer

from audio_denoising.cli.clean_report import print_left_out
from audio_denoising.cli.clean_ways import clean_many, clean_on_ray, clean_one, clean_pipe
from audio_denoising.cli.options import device_option
from audio_denoising.dsp.strength import number
from audio_denoising.errors import UserError
from audio_denoising.models.shipped import DEFAULT

_AMOUNT, _FILES, _WORK = "How much", "Files", "Network and machine"


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
        typer.Option(
            help="Percent of the noise to remove: s·clean + (1-s)·noisy.",
            metavar="PERCENT",
            rich_help_panel=_AMOUNT,
        ),
    ] = "100",
    limit: Annotated[
        str | None,
        typer.Option(
            help="Turn noise down by so many decibels at most.",
            metavar="DB",
            show_default="no limit",
            rich_help_panel=_AMOUNT,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write, or folder for many.",
            metavar="PATH",
            show_default="INPUT_denoised.wav",
            rich_help_panel=_FILES,
        ),
    ] = None,
    save_noise: Annotated[
        bool,
        typer.Option(
            "--save-noise",
            help="Write what is taken out, too, to NAME_noise beside the output.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive",
            "-r",
            help="Take the folders inside folders, too.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave out inputs whose output is there.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place",
            help="Replace the inputs by their cleaned form.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace existing outputs.", rich_help_panel=_FILES)
    ] = False,
    raw: Annotated[
        str | None,
        typer.Option(
            help="A pipe carries bare samples (16-bit little-endian), at so many a second in so "
            "many channels.",
            metavar="RATE,CHANNELS",
            show_default=False,
            rich_help_panel=_FILES,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="v5, v4, v3, v2, torch, or a checkpoint of `denoise train`.",
            metavar="VERSION|FILE",
            rich_help_panel=_WORK,
        ),
    ] = DEFAULT,
    device: Annotated[str, device_option(_WORK)] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            help="Files to clean at once.",
            metavar="N",
            show_default="1; with --ray one for each core",
            rich_help_panel=_WORK,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Clean on a Ray cluster (its address, or auto), or on a Ray started here (local). "
            "Inputs and output may be addresses then (s3://...); outputs that exist are left out.",
            show_default=False,
            rich_help_panel=_WORK,
        ),
    ] = None,
) -> None:
    """Denoise recordings of any length, sample rate and channel count.

    Examples:
      denoise clean examples/noisy_street.wav
      denoise clean examples/noisy_rain.wav --strength 80 -o rain.flac
      denoise clean examples -o cleaned --jobs 2
    """
    from audio_denoising.cleaning import jobs as planning
    from audio_denoising.cleaning.pipe import PIPE, Raw
    from audio_denoising.cleaning.settings import Settings

    percent = number(strength, "%", "--strength")
    decibels = None if limit is None else number(limit, "dB", "--limit")
    settings = Settings(model, device, percent, decibels, force, in_place)
    if jobs is not None and jobs < 1:
        raise UserError("--jobs must be above 0")
    if in_place and skip_existing:
        raise UserError("--skip-existing would skip all that --in-place is to replace")
    if ray is not None:
        if PIPE in (*inputs, output) or raw or in_place:
            raise UserError("--ray goes without pipes, --raw and --in-place: name files and -o")
        from audio_denoising.cleaning import tasks as corpus

        found, told = corpus.plan(inputs, output, recursive=recursive, save_noise=save_noise)
        missing = found if force else corpus.pending(found, output)
        print_left_out(told, len(found), len(missing))
        raise typer.Exit(clean_on_ray(missing, settings, ray, jobs) if missing else 0)
    if PIPE in (*inputs, output):
        if len(inputs) > 1 or save_noise or in_place or skip_existing:
            raise UserError(
                "- is one pipe: it goes without other inputs, and without --save-noise, "
                "--in-place and --skip-existing"
            )
        code = clean_pipe(inputs[0], output, Raw.parse(raw) if raw else None, settings)
        raise typer.Exit(code)
    if raw:
        raise UserError("--raw tells what comes through a pipe: it goes with - as the input")
    planned = planning.plan(
        inputs, output, recursive=recursive, in_place=in_place, save_noise=save_noise
    )
    waiting = planning.pending(planned.jobs, force=force, skip_existing=skip_existing)
    print_left_out(planned.left_out, len(planned.jobs), len(waiting))
    if len(planned.jobs) == 1 and waiting:
        raise typer.Exit(clean_one(waiting[0], settings))
    if waiting:
        raise typer.Exit(clean_many(waiting, settings, jobs or 1))
