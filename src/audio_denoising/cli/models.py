"""The `denoise models` command: what weights there are, and what they say about themselves."""

from __future__ import annotations

from math import prod
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from audio_denoising.models.versions import DEFAULT, VERSIONS, has_weights, locate, shipped

console = Console(highlight=False, emoji=False)


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Tell all that these weights say about themselves: a version's that ship, or a "
            "checkpoint's.",
            metavar="VERSION|FILE",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List versions, sizes, parameters and the weights that come with the package, or describe one.

    Examples:
      denoise models
      denoise models v4
      denoise models runs/v4-small/best.pth
    """
    if name is None:
        console.print(_table())
        _print_uses()
        return
    path = locate(name)

    from audio_denoising.models.header import read_checkpoint
    from audio_denoising.training.description import print_description

    print_description(console, read_checkpoint(path))


def _table() -> Table:
    """What can be trained, and what is there already."""
    from audio_denoising.models.shapes import shapes

    table = Table(box=None, header_style="bold")
    for name in ("version", "size", "parameters", "loss", "optimiser", "shipped weights"):
        table.add_column(name, justify="right" if name == "parameters" else "left")
    for row in VERSIONS.values():
        for size in row.sizes:
            held, weights = shapes(row.name, size).items(), "-"
            count = sum(prod(shape) for name, shape in held if "running_" not in name)
            own = shipped(row.name)
            if own.stem == f"{row.name}-{size}" and own.exists():
                weights = f"{own.stat().st_size / 1e6:.1f} MB"
            table.add_row(row.name, size, f"{count:,}", row.loss, row.optimiser, weights)
    return table


def _print_uses() -> None:
    """Which version cleans by default, and what the weights that ship may be used for."""
    uses: dict[str, list[str]] = {}
    for row in VERSIONS.values():
        if has_weights(row.name):
            uses.setdefault(row.licence, []).append(row.name)
    console.print(f"\n`denoise clean` uses {DEFAULT}. The weights are for")
    for licence, names in uses.items():
        console.print(f"  {licence}: {', '.join(names)}", soft_wrap=True)
