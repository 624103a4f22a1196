"""The history of a run, one row an epoch: saved as JSON and drawn as two curves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_denoising.files import save_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]


def save_history(
    folder: Path, options: dict[str, Any], rows: list[Row], earlier: list[dict[str, Any]]
) -> None:
    """Writes `history.json`, `loss_curve.png` and `psnr_curve.png`, each whole or not at all.

    Before the first epoch has ended there is nothing to draw.

    `earlier` holds the options and rows of the runs that this one started from.
    """
    content = {"options": options, "epochs": rows, "earlier": earlier}
    text = json.dumps(content, indent=1) + "\n"
    save_whole(folder / "history.json", lambda path: path.write_text(text))
    if not rows:
        return
    title = f"{options['version']}-{options['size']}"
    _draw(folder / "loss_curve.png", rows, "loss", "loss", title)
    _draw(folder / "psnr_curve.png", rows, "psnr", "PSNR of the spectrogram image (dB)", title)


def _draw(path: Path, rows: list[Row], key: str, label: str, title: str) -> None:
    figure = curve(rows, key, label, title)
    save_whole(path, lambda temporary: figure.savefig(temporary, dpi=120))


def curve(rows: list[Row], key: str, label: str, title: str) -> Figure:
    """Training and validation by epochs; ``key`` is "loss" or "psnr"."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] for row in rows]
    for split, colour in (("train", "tab:blue"), ("validation", "tab:orange")):
        values = [row.get(f"{split}_{key}", math.nan) for row in rows]  # not all runs measure all
        axes.plot(epochs, values, marker="o", markersize=3, color=colour, label=split)
    axes.set(xlabel="epoch", ylabel=label, title=title)
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)  # whole numbers, also around a single epoch
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
