"""The `denoise data shard` command: corpora as tar shards, for training beyond one disk."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from audio_denoising.cli.data_options import DATA, NOISE, SPEECH, HoldOut
from audio_denoising.errors import UserError, counted

console = Console(highlight=False, emoji=False, markup=False)

_data = partial(typer.Option, rich_help_panel=DATA)
_files = partial(typer.Option, rich_help_panel="Files")
_SPEECH, _NOISE = [SPEECH], [NOISE]
_SPLITS = ("train", "validation", "test")
_COLUMNS = ("shards", "pieces", "groups", "hours", "MB")
_NAMED = 5  # files left out that are named


def shard(
    speech: Annotated[
        list[Path], _data(help="Folder of clean speech; may be repeated.", metavar="DIR")
    ] = _SPEECH,
    noise: Annotated[
        list[Path], _data(help="Folder of noise; may be repeated.", metavar="DIR")
    ] = _NOISE,
    parts: Annotated[
        list[str] | None,
        _data(
            "--split",
            help="Which of the recordings: those for train, validation or test; may be repeated.",
            metavar="PART",
            show_default="train, validation",
        ),
    ] = None,
    hold_out: HoldOut = None,
    out: Annotated[Path, _files(help="Folder that receives the shards.", metavar="DIR")] = Path(
        "shards"
    ),
    megabytes: Annotated[
        float,
        _files("--shard-size", help="Where the next one begins.", min=1, metavar="MEGABYTES"),
    ] = 256.0,
    force: Annotated[bool, _files("--force", help="Replace an earlier set.")] = False,
) -> None:
    """Write speech and noise as WebDataset tar shards of 16 kHz FLAC, every split by itself.

    The folder appears when all is in it. `denoise train` reads the result.

    Example:
      denoise data shard --speech LibriSpeech --noise UrbanSound8K --out shards
    """
    from audio_denoising.corpora.sources import require_recordings
    from audio_denoising.mixing.frozen_options import require_free

    chosen = list(dict.fromkeys(parts or _SPLITS[:2]))
    for name in chosen:
        if name not in _SPLITS:
            raise UserError(f"unknown split {name!r}: choose one of {', '.join(_SPLITS)}")
    folders = {"speech": speech, "noise": noise}
    for what, given in folders.items():
        for folder in given:
            require_recordings(folder, what)
    kinds = ("*-*[0-9].tar", "*-*.json")
    require_free(out, force=force, ours={path.name for kind in kinds for path in out.glob(kind)})

    from rich.progress import Progress

    from audio_denoising.corpora.corpus import index_noise, index_speech
    from audio_denoising.corpora.splits import split

    splits = split(index_speech(*speech), index_noise(*noise), hold_out=hold_out or ())

    from audio_denoising.mixing.frozen_folder import whole_set
    from audio_denoising.mixing.shards import write_shards

    written = []
    with Progress(console=console, transient=True) as bar, whole_set(out) as fresh:
        for name, what in product(chosen, folders):
            recordings = getattr(getattr(splits, name), what)
            tell = partial(bar.update, bar.add_task(f"{what}, {name}", total=None))
            options: dict[str, Any] = {"what": what, "split": name, "megabytes": megabytes}
            written.append(write_shards(recordings, folders[what], fresh, progress=tell, **options))
    _report(written, out)


def _report(written: list[dict[str, Any]], out: Path) -> None:
    """What is in the shards, what is not, and how to train on them."""
    columns = [Column(name, justify="right") for name in _COLUMNS]
    table = Table("", *columns, box=None, header_style="bold")
    for index in written:
        shards = index["shards"]
        table.add_row(
            f"{index['what']}, {index['split']}",
            f"{len(shards)}",
            f"{sum(each['pieces'] for each in shards):,}",
            f"{len(index['groups']):,}",
            f"{index['seconds'] / 3600:.2f}",
            f"{sum(each['bytes'] for each in shards) / 1e6:.1f}",
        )
    console.print(table)
    left_out = {file: why for index in written for file, why in index["left_out"].items()}
    if left_out:
        console.print(f"{counted(len(left_out), 'recording')} left out:", style="bold")
        for file, why in list(left_out.items())[:_NAMED]:
            console.print(f"  {file} ({why})", soft_wrap=True)
    if any(index["split"] == "train" for index in written):
        speech, noise = (f"'{out}/{what}-train-*.tar'" for what in ("speech", "noise"))
        console.print("Train on them:", style="bold")
        console.print(f"  denoise train v4 --speech {speech} --noise {noise}", soft_wrap=True)
