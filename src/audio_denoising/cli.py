"""The `denoise` command: reads the arguments, calls the package, prints what happened.

Heavy imports happen inside the commands, so that `denoise --help` answers at once.
"""

from __future__ import annotations

import io
import signal
import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from . import __version__
from .cli_clean import clean
from .cli_compare import compare
from .cli_data import data_app
from .cli_evaluate import evaluate
from .cli_options import NOISES, SPEECHES, Cache, HoldOut, Noises, Speeches
from .cli_verify import verify
from .errors import UserError, UserNotice

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Remove noise from speech with a U-Net written from scratch.",
)
console = Console(highlight=False, emoji=False)


app.add_typer(data_app, name="data")
app.command()(evaluate)
app.command()(compare)
app.command()(verify)


@app.callback(invoke_without_command=True)
def main_options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Remove noise from speech with a U-Net written from scratch.

    Example: [bold]denoise clean examples/noisy_street.wav[/bold]
    """
    if version:
        console.print(f"audio-denoising {__version__}")
    elif context.invoked_subcommand is None:
        console.print(context.get_help())


app.command()(clean)


@app.command()
def train(
    version: Annotated[str, typer.Argument(help="v2, v3, v4 or torch.")],
    speech: Speeches = SPEECHES,
    noise: Noises = NOISES,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. Default: runs/VERSION-SIZE")
    ] = None,
    size: Annotated[
        str, typer.Option(help="small or large. Default: the version's own.", show_default=False)
    ] = "",
    epochs: Annotated[
        int, typer.Option(help="Default: the version's own.", show_default=False)
    ] = 0,
    batch_size: Annotated[int, typer.Option(help="Mixtures in one step.")] = 16,
    epoch_size: Annotated[
        int | None,
        typer.Option(help="Mixtures in one epoch. Default: one for every speech file."),
    ] = None,
    lr: Annotated[
        float,
        typer.Option(help="Learning rate. Default: the version's own.", show_default=False),
    ] = 0.0,
    schedule: Annotated[str, typer.Option(help="constant or cosine.")] = "constant",
    warmup: Annotated[int, typer.Option(help="Steps of rising learning rate.")] = 0,
    momentum: Annotated[float, typer.Option(help="Of SGD (v2 and v3).")] = 0.9,
    clip_norm: Annotated[float, typer.Option(help="Largest gradient norm; 0: no limit.")] = 0.0,
    ema: Annotated[
        float,
        typer.Option(help="Decay of the averaged weights that are kept, such as 0.999; 0: none."),
    ] = 0.0,
    patience: Annotated[
        int, typer.Option(help="Stop after so many epochs without a better one; 0: never.")
    ] = 0,
    precision: Annotated[
        str, typer.Option(help="fp32, or bf16: faster where the processor has units for it.")
    ] = "fp32",
    seed: Annotated[int, typer.Option(help="Decides weights, order and mixtures.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that decode audio.")] = 1,
    threads: Annotated[
        int, typer.Option(help="Threads that compute. Default: all.", show_default=False)
    ] = 0,
    accumulate: Annotated[
        int, typer.Option(help="Compute a batch in so many parts, to save memory.")
    ] = 1,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Compute activations twice, to save memory.")
    ] = False,
    save_every: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 120.0,
    start_from: Annotated[
        Path | None, typer.Option(help="Checkpoint whose weights to start from (fine-tuning).")
    ] = None,
    hold_out: HoldOut = None,
    augment: Annotated[
        str, typer.Option(help="What else happens to a mixture: original (nothing) or varied.")
    ] = "original",
    cache: Cache = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
) -> None:
    """Train a version on speech mixed with noise on the fly.

    Example: [bold]denoise train v4 --speech data/LibriSpeech --noise data/noise --size small[/bold]
    """
    import torch

    from .data.sources import parse_sources, weights_of
    from .training.distributed import joined
    from .training.options import RunPlace, TrainingOptions
    from .training.progress import TrainingDisplay
    from .training.trainer import Trainer

    spoken, noises = parse_sources(speech, "--speech"), parse_sources(noise, "--noise")
    options = TrainingOptions(
        version=version,
        size=size,
        epochs=epochs,
        batch_size=batch_size,
        epoch_size=epoch_size,
        learning_rate=lr,
        schedule=schedule,
        warmup_steps=warmup,
        momentum=momentum,
        clip_norm=clip_norm,
        ema=ema,
        patience=patience,
        precision=precision,
        seed=seed,
        start_from=str(start_from) if start_from else None,
        hold_out=hold_out,
        augmentation=augment,
        speech_weights=weights_of(spoken),
        noise_weights=weights_of(noises),
    )
    if threads < 0:
        raise UserError("--threads must not be negative")
    if threads:
        torch.set_num_threads(threads)
    out = out or Path("runs") / f"{options.version}-{options.size}"
    voices, sounds = ([source.place for source in found] for found in (spoken, noises))
    place = RunPlace(
        voices, sounds, out, device, workers, resume, cache, accumulate, recompute, save_every
    )
    with joined() as processes:
        shown = console if processes.leads else Console(quiet=True)
        with TrainingDisplay(shown, options, out) as display:
            finished = Trainer(options, place, display, processes).run()
    if not finished and processes.leads:
        console.print(
            f"Stopped and saved: go on with the same command and --resume ({out})", markup=False
        )


@app.command()
def models() -> None:
    """List versions, sizes, parameters and the weights that come with the package."""
    from .models import VERSIONS, WIDTHS, build
    from .training.checkpoint import load_checkpoint, shipped

    table = Table(box=None, header_style="bold")
    for name in ("version", "size", "parameters", "loss", "optimiser", "engine", "shipped weights"):
        table.add_column(name, justify="right" if name == "parameters" else "left")
    for row in VERSIONS.values():
        for size in WIDTHS:
            count = sum(p.data.numel() for p in build(row.name, size).parameters())
            weights = "-"
            if size == "small" and shipped(row.name).exists():
                checkpoint = load_checkpoint(shipped(row.name))
                megabytes = shipped(row.name).stat().st_size / 1e6
                weights = f"{checkpoint.steps} steps, {megabytes:.1f} MB"
            cells = (row.name, size, f"{count:,}", row.loss, row.optimiser, row.engine, weights)
            table.add_row(*cells)
    console.print(table)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of `denoise train`.")],
    output: Annotated[Path, typer.Argument(help="The .pth file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
) -> None:
    """Write a checkpoint's weights and history in half precision: small, to clean with and share.

    Example: [bold]denoise export runs/v4-small/best.pth v4.pth[/bold]
    """
    from .training import checkpoint as checkpoints

    if output.exists() and not force:
        raise UserError(f"{output} exists: choose another name or add --force")
    checkpoints.export(checkpoints.load_checkpoint(checkpoint), output)
    megabytes = output.stat().st_size / 1e6
    console.print(f"{output} {megabytes:.1f} MB", style="bold", markup=False, soft_wrap=True)


def _terminated(number: int, frame: FrameType | None) -> None:
    """Leaves as after Ctrl-C: what is half-written is taken away on the way out."""
    sys.exit(128 + number)


_with_its_place = warnings.formatwarning


def _formatted(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A notice is told without the line of code that gave it."""
    if issubclass(category, UserNotice):
        return f"Warning: {message}\n"
    return _with_its_place(message, category, filename, lineno, line)


def main() -> None:
    """Entry point: a `UserError` becomes one sentence and exit code 2, any other error 1."""
    signal.signal(signal.SIGTERM, _terminated)
    warnings.formatwarning = _formatted
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may hold what the terminal's encoding does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if "--debug" in sys.argv[1:]:
            raise
        expected = isinstance(error, UserError)
        message = f"Error: {error}"
        if not expected:
            message = (
                f"Error: {type(error).__name__}: {error}; this should not happen: "
                "denoise --debug ... shows where it did"
            )
        console = Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)
        console.print(message)
        sys.exit(2 if expected else 1)
