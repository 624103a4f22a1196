"""Who watches a training run and what they are told; first of all the display in the terminal:
a bar for the epoch, a line for every finished one, a summary at the end.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from audio_denoising.errors import counted
from audio_denoising.training.run_folder import Row

if TYPE_CHECKING:
    from audio_denoising.training.trainer import Trainer

_NAMED = 5  # damaged files that are named


class Watcher:
    """Somebody whom a run tells how it goes; what they do not care for they leave as it is here.

    All else that they want to know they read from the trainer.
    """

    def started(self, trainer: Trainer) -> None:
        """Before the first step."""

    def stepped(self, trainer: Trainer, figures: dict[str, float]) -> None:
        """After every step: its loss, psnr (in dB, of the spectrogram image), gradient_norm (before
        clipping), learning_rate, whether it was skipped, and the epoch's samples_per_second."""

    def finished_epoch(self, trainer: Trainer, row: Row, is_best: bool) -> None:
        """After validation."""

    def ended(self, trainer: Trainer, reason: str) -> None:
        """However the run ended: why its last epoch was the last; "" if it was stopped before."""


class TrainingDisplay(Watcher):
    """Prints to a terminal or a file."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task = self.progress.add_task("", total=None, figures="", visible=False)
        self.epoch = 0  # that the bar shows

    def started(self, trainer: Trainer) -> None:
        """Says what the run is made of."""
        options = trainer.options
        self._print(
            f"{options.version}-{options.size} on {trainer.device}, "
            f"{counted(options.epochs, 'epoch')} of {counted(trainer.steps, 'step')}, "
            f"batch {options.batch_size}, results in {trainer.place.out}"
        )
        for line in trainer.material.describe():
            self._print(line)
        if trainer.step:
            self._print(f"resumed at step {trainer.step}")
        self.progress.start()

    def stepped(self, trainer: Trainer, figures: dict[str, float]) -> None:
        """Moves the bar."""
        if trainer.epoch != self.epoch:
            self.epoch = trainer.epoch
            self.progress.reset(self.task, total=trainer.steps, visible=True)
        self.progress.update(
            self.task,
            completed=trainer.batch,
            description=f"epoch {trainer.epoch}/{trainer.options.epochs}",
            figures=f"loss {trainer.tally.mean_loss:.4f}  PSNR {trainer.tally.mean_psnr:.2f} dB  "
            f"{figures['samples_per_second']:.1f} samples/s",
        )

    def finished_epoch(self, trainer: Trainer, row: Row, is_best: bool) -> None:
        """Prints the epoch's figures."""
        self.progress.update(self.task, visible=False)
        self._print(
            f"epoch {row['epoch']:>3}  "
            f"train loss {row['train_loss']:.4f} PSNR {row['train_psnr']:.2f} dB  "
            f"validation loss {row['validation_loss']:.4f} PSNR {row['validation_psnr']:.2f} dB "
            f"SI-SDR {row['validation_si_sdr']:.2f} dB ({row['validation_si_sdr_gain']:+.2f})"
            f"{'  best' if is_best else ''}"
        )

    def ended(self, trainer: Trainer, reason: str) -> None:
        """Takes the bar away; says how the run ended, what it reached, and how to use it."""
        self.progress.stop()
        if not reason:
            return
        rows, damaged, out = trainer.history, trainer.material.damaged, trainer.place.out
        best = next((row for row in rows if row["validation_si_sdr"] == trainer.best), None)
        skipped = sum(row.get("skipped_steps", 0) for row in rows)
        lines = {
            "end": reason,
            "trained": f"{counted(len(rows), 'epoch')}, {counted(trainer.step, 'step')}, "
            f"{duration(rows)}",
            "best": figures_of(best) if best else "no epoch: the validation never gave a number",
        }
        if skipped:
            lines["skipped"] = (
                f"{counted(skipped, 'step')} whose gradients were not numbers; "
                "--clip-norm 1 or a lower --lr may help"
            )
        if damaged:
            names = ", ".join(map(str, damaged[:_NAMED]))
            more = f" and {len(damaged) - _NAMED} more" if damaged[_NAMED:] else ""
            bad = counted(len(damaged), "file")
            lines["passed over"] = f"{bad} that could not be decoded: {names}{more}"
        if trainer.licence:
            lines["warning"] = f"these weights are for {trainer.licence}"
        lines["results"] = str(out)
        for name, text in lines.items():
            self._print(f"{name:>11}: {text}")
        if best:
            weights = shlex.quote(str(out / "best.pth"))
            self._print(f"denoise clean --model {weights} recording.wav", style="bold")

    def _print(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, soft_wrap=True)


def figures_of(row: Row) -> str:
    """What the validation of an epoch found."""
    return (
        f"epoch {row['epoch']}: SI-SDR {row['validation_si_sdr']:.2f} dB "
        f"({row['validation_si_sdr_gain']:+.2f} dB gain over the noisy input), "
        f"PSNR {row['validation_psnr']:.2f} dB, loss {row['validation_loss']:.4f}"
    )


def duration(rows: Sequence[Row]) -> str:
    """How long the epochs trained, in the two units that matter, such as "3 h 20 min"."""
    seconds = sum(float(row["train_seconds"]) for row in rows)
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
