"""The folder of a run: what it keeps, of which one checkpoint can always be read.

`last.pth` is the newest. Before it is replaced it becomes `previous.pth`, so that damage to one of
them, by a disk or by a copy that was cut off, costs the steps between the two and not the run.
`history.json` has one row an epoch, which two curves show.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_denoising.errors import UserError, UserNotice
from audio_denoising.files import save_whole
from audio_denoising.folders import require_writable

if TYPE_CHECKING:  # with torch behind the one, which a wrong --out need not wait for
    from matplotlib.figure import Figure

    from audio_denoising.models.checkpoint import Checkpoint

KEEP_EVERY = 5  # epochs

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
        self._last_is_damaged = False

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

    def require_whole(self) -> None:
        """Refuses a run of which no checkpoint is whole, as far as that shows without torch.

        Raises:
            UserError: it is one.
        """
        if not (_is_whole(self.last) or _is_whole(self.previous)):
            raise self._lost()

    def prepare(self) -> None:
        """Makes the folder where need be.

        Raises:
            UserError: results could not be saved there; better said before the first step.
        """
        require_writable(self.path)

    def save(self, content: dict[str, Any]) -> None:
        """Writes `last.pth`; the one before it stays as `previous.pth`.

        Raises:
            UserError: that is not possible; both files are as they were.
        """
        from audio_denoising.models.checkpoint import save_checkpoint

        # A damaged file must not take the place of the one that the run has gone on from.
        former = None if self._last_is_damaged else self.previous
        save_checkpoint(self.last, content, former)
        self._last_is_damaged = False

    def keep(self, content: dict[str, Any], epoch: int, is_best: bool) -> None:
        """Writes `best.pth` after the best epoch so far, `epoch_005.pth` and so on after some.

        Raises:
            UserError: that is not possible; what was there before still is.
        """
        from audio_denoising.models.checkpoint import save_checkpoint

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

    def newest(self) -> Checkpoint:
        """The newest checkpoint that can be read; a `UserNotice` tells where that is the previous.

        Raises:
            UserError: there is none, or it is not of this program.
        """
        from audio_denoising.models.checkpoint import load_checkpoint
        from audio_denoising.models.header import UnreadableCheckpoint

        try:
            return load_checkpoint(self.last)
        except UnreadableCheckpoint:
            pass
        try:
            found = load_checkpoint(self.previous)
        except UnreadableCheckpoint as error:
            raise self._lost() from error
        self._last_is_damaged = True
        position = found.content.get("position", {})
        warnings.warn(
            f"{self.last} is damaged or missing: the run goes on from {self.previous}, step "
            f"{position.get('step', 0)}, and trains again what came after that",
            UserNotice,
            stacklevel=2,
        )
        return found

    def _lost(self) -> UserError:
        """What is left to somebody who has lost both checkpoints."""
        kept = sorted(self.path.glob("epoch_*.pth"), reverse=True)
        whole = next(filter(_is_whole, (self.path / "best.pth", *kept)), None)
        todo = "train again in another --out"
        if whole:
            todo = f"begin another --out with the weights of an earlier epoch, --start-from {whole}"
        return UserError(f"neither {self.last} nor {self.previous} can be read: {todo}")


def _is_whole(path: Path) -> bool:
    from audio_denoising.models.header import read_contents

    try:
        read_contents(path)
    except UserError:
        return False
    return True


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
