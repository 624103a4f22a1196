"""The `denoise data prepare` command: decode everything once, so that training need not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from audio_denoising.cli.options import NOISES, SPEECHES, Noises, Speeches
from audio_denoising.errors import counted

console = Console(highlight=False, emoji=False)

_NAMED = 5  # files left out that are named


def prepare(
    speech: Speeches = SPEECHES,
    noise: Noises = NOISES,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; in its default place training finds it.",
            metavar="FILE",
            show_default="data/prepared.cache",
            rich_help_panel="Files",
        ),
    ] = None,
) -> None:
    """Decode speech and noise once into a cache that training reads in their place.

    16 kHz mono: about 115 MB an hour of 16-bit speech at 16 kHz, 230 MB of anything else. Run it
    again when recordings were added or changed, or after Ctrl-C: it decodes only what is missing.

    Example:
      denoise data prepare --speech my/voices --noise my/noise
    """
    from audio_denoising.corpora.sources import parse_sources, require_folders

    voices, sounds = parse_sources(speech, "--speech"), parse_sources(noise, "--noise")
    require_folders(voices, sounds)

    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    from audio_denoising.corpora.corpus import index_noise, index_speech
    from audio_denoising.mixing.preparation import prepare as write_cache
    from audio_denoising.mixing.prepared import DEFAULT

    target = out or DEFAULT
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeLeft())
    try:
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("Looking for files", total=None)
            recordings = [
                *index_speech(*(source.folder for source in voices)),
                *index_noise(*(source.folder for source in sounds)),
            ]
            report = write_cache(
                recordings,
                target,
                lambda done, total: bar.update(
                    task, description="Decoding", completed=done, total=total
                ),
            )
    except KeyboardInterrupt:
        console.print("Stopped; the same command continues where it stopped.")
        raise
    console.print(str(target), style="bold", markup=False, soft_wrap=True)
    console.print(
        f"{counted(report.decoded + report.kept, 'recording')}, {report.seconds / 3600:.2f} hours, "
        f"{report.bytes / 1e6:,.1f} MB: {report.decoded:,} decoded now, "
        f"{report.kept:,} there before",
        markup=False,
    )
    if report.left_out:
        console.print(f"{len(report.left_out)} left out; training decodes what it can of them:")
        for path, why in list(report.left_out.items())[:_NAMED]:
            console.print(f"  {path} ({why})", markup=False, soft_wrap=True)
    if out is not None:
        console.print(f"Train with it: denoise train … --cache {out}", markup=False, soft_wrap=True)
