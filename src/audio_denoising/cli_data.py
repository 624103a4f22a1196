"""The `denoise data` commands: fetch corpora, look at them, freeze test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
