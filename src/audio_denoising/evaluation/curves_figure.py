"""Draws the training curves of several runs in one figure: loss and PSNR, by steps and by time."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_denoising.errors import UserError
from audio_denoising.files import save_whole
from audio_denoising.models import VERSIONS
from audio_denoising.models.header import read_checkpoint
from audio_denoising.models.versions import locate, title_of

if TYPE_CHECKING:  # it takes its time, which a wrong name need not wait for
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = (("loss", "loss"), ("psnr", "PSNR of the spectrogram image (dB)"))
_AXES = (("steps", "optimiser steps"), ("hours", "hours of training"))
_CURVES = ("train_loss", "validation_loss", "train_psnr", "validation_psnr")
_NEEDED = ("step", "train_seconds", "train_loss", "validation_loss")  # others leave a gap


@dataclass(frozen=True)
class Curves:
    """One run, an entry for every epoch, the epochs of the runs it started from first.

    ``starts`` are the places where a run went on from the weights of the one before.
    """

    title: str
    loss_name: str
    steps: list[int]
    hours: list[float]
    values: dict[str, list[float]]  # of `_CURVES`
    starts: list[int]


def load_curves(source: str) -> Curves:
    """The history of a version that ships, a run's folder, its `history.json`, or a checkpoint.

    Raises:
        UserError: there is no such history, or it is empty.
    """
    runs, title = _runs(source)
    rows: list[dict[str, Any]] = []
    steps: list[int] = []
    starts: list[int] = []
    for run in runs:
        if rows:
            starts.append(len(rows))
        done = steps[-1] if steps else 0
        steps += [done + row["step"] for row in run["epochs"]]
        rows += run["epochs"]
    hours = list(accumulate(row["train_seconds"] / 3600 for row in rows))
    if not rows:
        raise UserError(f"the history of {source} is empty: train for an epoch first")
    values = {key: [float(row.get(key, math.nan)) for row in rows] for key in _CURVES}
    version = runs[-1]["options"]["version"]
    loss = VERSIONS[version].loss if version in VERSIONS else "loss"
    return Curves(title, loss, steps, hours, values, starts)


def curves_figure(runs: Sequence[Curves]) -> Figure:
    """Loss (above) and PSNR (below) against steps (left) and wall time (right).

    Lines are validation, dots in the same colour training; a gap of dashes joins a run to the one
    that went on from its weights. Losses are on a logarithmic scale: runs with different losses
    (named in the legend) do not compare there, their PSNR does.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), dpi=100, layout="constrained")
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    for row, (key, label) in zip(panels, _PANELS, strict=True):
        for axes, (across, _) in zip(row, _AXES, strict=True):
            for number, run in enumerate(runs):
                _draw(axes, run, key, across, f"C{number % 10}")
            axes.grid(alpha=0.3)
            axes.set_xlim(left=0)
        row[0].set_ylabel(label)
    panels[0][0].set_yscale("log")
    for axes, (_, label) in zip(panels[1], _AXES, strict=True):
        axes.set_xlabel(label)
    panels[0][0].set_title("validation (lines) and training (dots), epoch by epoch", fontsize=10)
    panels[0][1].legend()
    return figure


def write_curves(sources: Sequence[str], path: Path) -> None:
    """Draws the histories of ``sources`` (see `load_curves`) into a picture, whole or not at all.

    Raises:
        UserError: a history is missing, or the picture cannot be written.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"{path} must end in .png, .svg or .pdf")
    figure = curves_figure([load_curves(source) for source in sources])
    # A fixed software name keeps the file the same bytes from one run to the next.
    metadata = {"Software": "audio_denoising"} if path.suffix.lower() == ".png" else None
    save_whole(path, lambda temporary: figure.savefig(temporary, metadata=metadata))


def _draw(axes: Axes, run: Curves, key: str, across: str, colour: str) -> None:
    places: list[float] = list(run.steps if across == "steps" else run.hours)
    trained, validated = run.values[f"train_{key}"], run.values[f"validation_{key}"]
    bounds = [0, *run.starts, len(places)]
    label: str | None = f"{run.title} ({run.loss_name})"
    for first, last in pairwise(bounds):
        part = slice(first, last)
        axes.plot(places[part], validated[part], color=colour, marker=".", label=label)
        axes.plot(places[part], trained[part], "o", color=colour, markersize=3, alpha=0.4)
        label = None
    for start in run.starts:
        join = slice(start - 1, start + 1)
        axes.plot(places[join], validated[join], color=colour, linestyle=":")


def _runs(source: str) -> tuple[list[dict[str, Any]], str]:
    """The run and, before it, those it started from; and what to call it."""
    path = Path(source)
    if source not in VERSIONS and path.suffix not in (".pth", ".safetensors"):
        file = path / "history.json" if path.is_dir() else path
        content, title = _json(file), file.parent.name if file.name == "history.json" else file.stem
    else:
        checkpoint = read_checkpoint(locate(source))
        content = {"options": {}, "earlier": [], **checkpoint.content, "epochs": checkpoint.history}
        own = f"{checkpoint.version}-{checkpoint.size}"
        title = own if source in VERSIONS else title_of(source)
    try:
        runs = [*content.get("earlier", []), content]
        for run in runs:
            _ = run["options"]["version"], [[row[key] for key in _NEEDED] for row in run["epochs"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{source} is not a history of `denoise train` (it has no {error}): give a version, "
            "the folder of a run, a history.json or a checkpoint"
        ) from error
    return runs, title


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"there is no training history at {path}: give one of {', '.join(VERSIONS)}, the "
            "folder of a run, its history.json or a checkpoint"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is not a history of `denoise train`: it holds no JSON") from error
