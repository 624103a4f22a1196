"""The `denoise data` commands: fetch, check, prepare and shard corpora, freeze test sets."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from audio_denoising.cli.check import check
from audio_denoising.cli.data_options import DATA, NOISE, SPEECH, HoldOut, Noise, Speech
from audio_denoising.cli.options import Command, Group
from audio_denoising.cli.prepare import prepare
from audio_denoising.cli.shard import shard
from audio_denoising.errors import counted

data_app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Fetch, check, prepare and mix speech and noise.

    Examples:
      denoise data download librispeech --subset dev-clean
      denoise data check --speech my/voices --noise my/noise
    """,
)
console = Console(highlight=False, emoji=False, markup=False)

_data = partial(typer.Option, rich_help_panel=DATA)
_mixtures = partial(typer.Option, rich_help_panel="Mixtures")
_files = partial(typer.Option, rich_help_panel="Files")


@data_app.command(cls=Command)
def download(
    corpus: Annotated[
        str, typer.Argument(help="librispeech, urbansound8k or all.", metavar="CORPUS")
    ] = "all",
    subset: Annotated[
        list[str] | None,
        typer.Option(
            help="Part of LibriSpeech; may be repeated.",
            metavar="NAME",
            show_default="train-clean-100, dev-clean, test-clean",
        ),
    ] = None,
    root: Annotated[
        Path, typer.Option(help="Folder that receives the corpora.", metavar="DIR")
    ] = Path("data"),
) -> None:
    """Fetch LibriSpeech and UrbanSound8K from their publishers, verified and unpacked.

    Run it again after a broken connection or Ctrl-C: it continues where it stopped.

    Example:
      denoise data download librispeech --subset dev-clean --root data
    """
    from audio_denoising.corpora.download import choose
    from audio_denoising.corpora.download import download as fetch
    from audio_denoising.corpora.transfer import TransferDisplay

    corpora, archives = choose(corpus, subset or ())
    for each in corpora:
        console.print(each.title, style="bold", soft_wrap=True)
        console.print(f"  Licence: {each.licence}", soft_wrap=True)
    try:
        with TransferDisplay(console) as display:
            folders = fetch(archives, root, display)
    except KeyboardInterrupt:
        console.print("Stopped; the same command continues where it stopped.")
        raise
    for folder in folders:
        console.print(str(folder), style="bold", soft_wrap=True)


data_app.command(cls=Command)(check)


@data_app.command(cls=Command)
def mix(
    speech: Speech = SPEECH,
    noise: Noise = NOISE,
    part: Annotated[
        str,
        _data(
            "--split",
            help="Which of the recordings: those for test, validation or train, or all.",
            metavar="PART",
        ),
    ] = "test",
    hold_out: HoldOut = None,
    count: Annotated[int, _mixtures(help="Mixtures to write.", min=1, metavar="N")] = 40,
    snr: Annotated[
        str,
        _mixtures(
            help="Levels of speech over noise in dB, separated by commas.", metavar="DB,DB..."
        ),
    ] = "0,5,10,15",
    seed: Annotated[int, _mixtures(help="Decides every choice.", min=0, metavar="N")] = 7,
    shortest: Annotated[
        float, _mixtures(help="What an utterance must last.", metavar="SECONDS")
    ] = 3.0,
    shortest_noise: Annotated[
        float, _mixtures(help="What a noise must last.", metavar="SECONDS")
    ] = 2.0,
    longest: Annotated[
        float, _mixtures(help="What is used of an utterance.", metavar="SECONDS")
    ] = 8.0,
    out: Annotated[Path, _files(help="Folder to write.", metavar="DIR")] = Path("data/test_set"),
    bits: Annotated[int, _files(help="Bits of a sample.", metavar="16|24")] = 16,
    force: Annotated[bool, _files("--force", help="Replace an earlier set.")] = False,
) -> None:
    """Freeze a test set on disk: clean/, noisy/ and manifest.csv with every choice made.

    A speaker is heard once at every level, then comes the next. Same seed, same bytes.

    Example:
      denoise data mix --count 40 --snr 0,5,10,15 --seed 7 --out data/test_set
    """
    from audio_denoising.corpora.sources import require_recordings
    from audio_denoising.mixing.frozen_options import MixOptions, require_free

    options = MixOptions(count, snr, seed, part, shortest, shortest_noise, longest, bits)
    require_recordings(speech, "speech")
    require_recordings(noise, "noise")
    require_free(out, force=force)

    from rich.progress import Progress

    from audio_denoising.mixing.frozen_folder import choose, write_frozen

    with console.status("Drawing mixtures"):
        choices = choose(speech, noise, options, hold_out or ())
    with Progress(console=console, transient=True) as bar:
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
    console.print(str(out), style="bold", soft_wrap=True)
    speakers = counted(len({choice.speech.group for choice in choices}), "speaker")
    sources = counted(len({choice.noise.group for choice in choices}), "noise source")
    console.print(
        f"{counted(count, 'mixture')} of {speakers} and {sources} at {snr} dB; every choice "
        f"is in {out / 'manifest.csv'}",
    )


data_app.command(cls=Command)(prepare)
data_app.command(cls=Command)(shard)
