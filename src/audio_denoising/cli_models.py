"""The `denoise models` and `denoise export` commands: what weights there are, and sharing them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .errors import UserError

console = Console(highlight=False, emoji=False)


def models(
    describe: Annotated[
        str | None,
        typer.Option(
            help="Tell all that a checkpoint (or what ships of a version) says about itself.",
            metavar="FILE|VERSION",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List versions, sizes, parameters and the weights that come with the package.

    Examples:
      denoise models
      denoise models --describe v4
      denoise models --describe runs/v4-small/best.pth
    """
    if describe is None:
        console.print(_table())
        return
    from .models import VERSIONS
    from .training.checkpoint import load_checkpoint, shipped
    from .training.description import print_description

    path = shipped(describe) if describe in VERSIONS else Path(describe)
    print_description(console, load_checkpoint(path))


def _table() -> Table:
    """What can be trained, and what is there already."""
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
    return table


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of `denoise train`.", metavar="CHECKPOINT")
    ],
    output: Annotated[Path, typer.Argument(help="The .pth file to write.", metavar="OUTPUT")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
) -> None:
    """Write a checkpoint's weights and history in half precision: small, to clean with and share.

    Names of folders on this machine are left out.

    Example:
      denoise export runs/v4-small/best.pth v4.pth
    """
    from .training import checkpoint as checkpoints

    if output.exists() and not force:
        raise UserError(f"{output} exists: choose another name or add --force")
    checkpoints.export(checkpoints.load_checkpoint(checkpoint), output)
    megabytes = output.stat().st_size / 1e6
    console.print(f"{output} {megabytes:.1f} MB", style="bold", markup=False, soft_wrap=True)
