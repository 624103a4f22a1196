"""The folder of a run: what it keeps, of which one checkpoint can always be read.

`last.pth` is the newest. Before it is replaced it becomes `previous.pth`, so that damage to one of
them, by a disk or by a copy that was cut off, costs the steps between the two and not the run.
`history.json` has one row an epoch, which two curves show.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_denoising.errors import UserError
from audio_denoising.files import save_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from audio_denoising.training.trainer import Trainer

KEEP_EVERY = 5  # epochs
POSITION = ("epoch", "batch", "step", "heard")  # of a run

Row = dict[str, Any]


def restarts() -> int:
    """How often torchrun has started these processes again after one of them was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


class RunFolder:
    """Where a run keeps what it needs to go on after an interruption."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "last.pth"
        self.previous = path / "previous.pth"
        self.history = path / "history.json"
        self.last_is_damaged = False  # and the run has gone on from the previous one

    @property
    def holds_a_run(self) -> bool:
        """Whether there is something to resume."""
        return self.last.exists() or self.previous.exists()

    def resumes(self, wanted: bool) -> bool:
        """Whether a run goes on from here: if that is wanted, or if it was torchrun's start.

        Raises:
            UserError: there is nothing to resume, or a run that nobody wants to resume.
        """
        if wanted and not self.holds_a_run:
            raise UserError(
                f"no checkpoint at {self.last}: there is no run in --out to go on with; leave "
                "--resume out"
            )
        if self.holds_a_run and not (wanted or restarts()):
            raise UserError(
                f"{self.path} holds a run: continue it with --resume, or choose another --out"
            )
        return self.holds_a_run

    def save(self, content: dict[str, Any]) -> None:
        """Writes `last.pth`; the one before it stays as `previous.pth`.

        Raises:
            UserError: that is not possible; both files are as they were.
        """
        from audio_denoising.models.saving import save_checkpoint

        # A damaged file must not take the place of the one that the run has gone on from.
        former = None if self.last_is_damaged else self.previous
        save_checkpoint(self.last, content, former)
        self.last_is_damaged = False

    def keep(self, content: dict[str, Any], epoch: int, is_best: bool) -> None:
        """Writes `best.pth` after the best epoch so far, `epoch_005.pth` and so on after some.

        Raises:
            UserError: that is not possible; what was there before still is.
        """
        from audio_denoising.models.saving import save_checkpoint

        if is_best:
            save_checkpoint(self.path / "best.pth", content)
        if epoch % KEEP_EVERY == 0:
            save_checkpoint(self.path / f"epoch_{epoch:03d}.pth", content)

    def save_history(
        self, options: dict[str, Any], rows: list[Row], earlier: list[dict[str, Any]]
    ) -> None:
        """Writes `history.json` and the curves of loss and PSNR, each whole or not at all.

        Before the first epoch has ended there is nothing to draw. ``earlier`` are options and rows
        ("options", "epochs") of the runs that this one started from.

        Raises:
            UserError: that is not possible.
        """
        content = {"options": options, "epochs": rows, "earlier": earlier}
        text = json.dumps(content, indent=1) + "\n"
        save_whole(self.history, lambda path: path.write_text(text))
        if rows:
            title = f"{options['version']}-{options['size']}"
            for key, label in (("loss", "loss"), ("psnr", "PSNR of the spectrogram image (dB)")):
                _draw(self.path / f"{key}_curve.png", rows, key, label, title)


def content_of(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint carries: weights to clean with, and all that the next step depends on."""
    import torch

    from audio_denoising.models.saving import describe

    options = trainer.options
    content = {
        **describe(options.version, options.size),
        **trainer.learner.state_dict(),
        "options": options.as_dict(),
        "place": {
            **trainer.place.as_dict(),
            "device": str(trainer.device),
            "processes": trainer.processes.count,
        },
        "position": {name: getattr(trainer, name) for name in POSITION},
        "licence": trainer.licence or "as the recordings allow",
        "sums": asdict(trainer.tally),
        "skipped_in_a_row": trainer.skipped_in_a_row,
        "best": trainer.best,
        "history": list(trainer.history),
        "earlier": trainer.earlier,
        "rng": torch.get_rng_state(),
        "mixing": "banks",  # older runs of U-Nets drew mixtures in another way
    }
    if trainer.average:
        content["unaveraged_model"] = content["model"]
        with trainer.averaged():
            content["model"] = trainer.learner.state_dict()["model"]
        content["average_steps"] = trainer.average.steps
    return content


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
