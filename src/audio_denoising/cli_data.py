"""The `denoise data` commands: fetch, check, prepare and shard corpora, freeze test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .cli_options import (
    NOISE,
    NOISES,
    SPEECH,
    SPEECHES,
    Cache,
    HoldOut,
    Noise,
    Noises,
    Speech,
    Speeches,
)
from .cli_prepare import prepare
from .cli_shard import shard

data_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Fetch, check and mix speech and noise.",
)
console = Console(highlight=False, emoji=False)


@data_app.command()
def download(
    corpus: Annotated[str, typer.Argument(help="librispeech, urbansound8k or all.")] = "all",
    subset: Annotated[
        list[str] | None,
        typer.Option(
            help="Of LibriSpeech; may be repeated. Default: train-clean-100, dev-clean, test-clean",
            show_default=False,
        ),
    ] = None,
    root: Annotated[Path, typer.Option(help="Folder that receives the corpora.")] = Path("data"),
) -> None:
    """Fetch LibriSpeech and UrbanSound8K from their publishers, verified and unpacked.

    Run it again after a broken connection or Ctrl-C: it continues where it stopped.

    Example: [bold]denoise data download librispeech --subset dev-clean --root data[/bold]
    """
    from .data.download import choose
    from .data.download import download as fetch
    from .data.transfer_display import TransferDisplay

    corpora, archives = choose(corpus, subset or ())
    for each in corpora:
        console.print(each.title, style="bold", markup=False, soft_wrap=True)
        console.print(f"  Licence: {each.licence}", markup=False, soft_wrap=True)
    try:
        with TransferDisplay(console) as display:
            folders = fetch(archives, root, display)
    except KeyboardInterrupt:
        console.print("Stopped; the same command continues where it stopped.")
        raise
    for folder in folders:
        console.print(str(folder), style="bold", markup=False, soft_wrap=True)


@data_app.command()
def check(
    speech: Speeches = SPEECHES,
    noise: Noises = NOISES,
    hold_out: HoldOut = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read headers only: seconds, not minutes.")
    ] = False,
    name_all: Annotated[bool, typer.Option("--all", help="Name every faulty file.")] = False,
    cache: Cache = None,
) -> None:
    """Look at speech and noise as training would; exit with 1 if it could not run.

    Decodes every file; names what is unusable, and says who trains and how fast batches come.

    Example: [bold]denoise data check --speech my/voices --noise my/noise --hold-out anna[/bold]
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    from .data.check import check as look
    from .data.check_report import print_check
    from .data.sources import parse_sources

    voices, sounds = parse_sources(speech, "--speech"), parse_sources(noise, "--noise")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Looking for files", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"Decoding {what}", completed=done, total=total)

        report = look(
            voices,
            sounds,
            hold_out=hold_out or (),
            quick=quick,
            cache=cache,
            progress=progress,
        )
    print_check(console, report, name_all=name_all)
    if report.problems:
        raise typer.Exit(1)


@data_app.command()
def mix(
    count: Annotated[int, typer.Option(help="Mixtures to write.", min=1)] = 40,
    snr: Annotated[str, typer.Option(help="Levels in dB, separated by commas.")] = "0,5,10,15",
    seed: Annotated[int, typer.Option(help="Decides every choice.", min=0)] = 7,
    part: Annotated[
        str, typer.Option("--split", help="test, validation, train, or all of the recordings.")
    ] = "test",
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("data/test_set"),
    speech: Speech = SPEECH,
    noise: Noise = NOISE,
    hold_out: HoldOut = None,
    shortest: Annotated[float, typer.Option(help="Seconds an utterance must last.")] = 3.0,
    shortest_noise: Annotated[float, typer.Option(help="Seconds a noise must last.")] = 2.0,
    longest: Annotated[float, typer.Option(help="Seconds of an utterance that are used.")] = 8.0,
    bits: Annotated[int, typer.Option(help="Of a sample in the files: 16 or 24.")] = 16,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier set.")] = False,
) -> None:
    """Freeze a test set on disk: clean/, noisy/ and manifest.csv with every choice made.

    A speaker is heard once at every level, then comes the next. Same seed, same bytes.

    Example: [bold]denoise data mix --count 40 --snr 0,5,10,15 --seed 7 --out data/test_set[/bold]
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from .data.frozen_folder import require_free, write_frozen
    from .data.mix_options import MixOptions, choose

    options = MixOptions(count, snr, seed, part, shortest, shortest_noise, longest, bits)
    require_free(out, force=force)
    with console.status("Drawing mixtures"):
        choices = choose(speech, noise, options, hold_out or ())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Mixing", total=count)
        write_frozen(
            choices,
            out,
            options,
            speech_root=speech,
            noise_root=noise,
            force=force,
            progress=lambda done: bar.update(task, completed=done),
        )
    console.print(str(out), style="bold", markup=False, soft_wrap=True)
    speakers = len({choice.speech.group for choice in choices})
    sources = len({choice.noise.group for choice in choices})
    console.print(
        f"{count} mixtures of {speakers} speakers and {sources} noise sources at {snr} dB; "
        f"every choice is in {out / 'manifest.csv'}",
        markup=False,
    )


data_app.command()(prepare)
data_app.command()(shard)
