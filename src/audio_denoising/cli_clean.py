"""The `denoise clean` command: recordings of any kind in, the same without the noise out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console(highlight=False, emoji=False)


def clean(
    input: Annotated[Path, typer.Argument(help="Any wav, flac, ogg, opus, mp3 or aiff file.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: INPUT_denoised.wav"),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Version (v2, v3, v4, torch) or a checkpoint file.")
    ] = "v4",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
) -> None:
    """Denoise a recording of any length, sample rate and channel count.

    Example: [bold]denoise clean meeting.flac -o meeting_clean.flac[/bold]
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from .denoiser import Denoiser
    from .io.reading import AudioReader
    from .io.writing import check_output, default_output

    with AudioReader(input) as reader:  # before the model: a wrong name should fail at once
        check_output(output or default_output(input), force=force)
        seconds = reader.frames / reader.rate
    denoiser = Denoiser.from_pretrained(model, device)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"Cleaning {input.name}", total=seconds)
        report = denoiser.denoise_file(
            input,
            output,
            force=force,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(str(report.output), style="bold", markup=False, soft_wrap=True)
    console.print(
        f"{report.seconds:.1f} s of audio in {report.elapsed:.1f} s "
        f"(real-time factor {report.rtf:.3f}), model {report.model}, device {report.device}"
    )
