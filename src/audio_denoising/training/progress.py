"""The live display of a training run: a bar for the epoch, a line for every finished one."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import torch
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from audio_denoising.counting import counted
from audio_denoising.training.history import Row
from audio_denoising.training.material import Material
from audio_denoising.training.options import TrainingOptions
from audio_denoising.training.reporting import StepReport, Summary
from audio_denoising.training.validation import Clip

_NAMED = 5  # damaged files that are named


class TrainingDisplay:
    """Prints to a terminal; a `Reporter` for the trainer. Use it in a `with` block."""

    def __init__(self, console: Console, options: TrainingOptions, out: Path) -> None:
        self.console = console
        self.options = options
        self.out = out
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
        self.steps = 0
        self.epoch = 0  # that the bar shows

    def __enter__(self) -> TrainingDisplay:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def started(
        self, material: Material, device: torch.device, steps: int, resumed_at: int
    ) -> None:
        """Says what the run is made of."""
        options = self.options
        self.steps = steps
        self.console.print(
            f"[bold]{options.version}-{options.size}[/bold] on {device}, "
            f"{counted(options.epochs, 'epoch')} of {counted(steps, 'step')}, "
            f"batch {options.batch_size}, results in {escape(str(self.out))}",
            soft_wrap=True,
        )
        for line in material.describe():
            self.console.print(line, markup=False, soft_wrap=True)
        if resumed_at:
            self.console.print(f"resumed at step {resumed_at}")

    def stepped(self, report: StepReport) -> None:
        """Moves the bar."""
        if report.epoch != self.epoch:
            self.epoch = report.epoch
            self.progress.reset(self.task, total=self.steps, completed=report.batch, visible=True)
        self.progress.update(
            self.task,
            completed=report.batch,
            description=f"epoch {report.epoch}/{self.options.epochs}",
            figures=f"loss {report.mean_loss:.4f}  PSNR {report.mean_psnr:.2f} dB  "
            f"{report.samples_per_second:.1f} samples/s",
        )

    def finished_epoch(self, row: Row, is_best: bool, clips: Callable[[], list[Clip]]) -> None:
        """Prints the epoch's figures."""
        self.progress.update(self.task, visible=False)
        self.console.print(
            f"epoch {row['epoch']:>3}  "
            f"train loss {row['train_loss']:.4f} PSNR {row['train_psnr']:.2f} dB  "
            f"validation loss {row['validation_loss']:.4f} PSNR {row['validation_psnr']:.2f} dB "
            f"SI-SDR {row['validation_si_sdr']:.2f} dB ({row['validation_si_sdr_gain']:+.2f})"
            f"{'  best' if is_best else ''}",
            soft_wrap=True,
        )

    def finished(self, summary: Summary) -> None:
        """Says how the run ended, what it reached, and how to use it."""
        lines = _told(summary)
        if self.console.is_terminal:
            table = Table.grid(padding=(0, 2))
            table.add_column(style="bold", no_wrap=True)
            table.add_column(overflow="fold")
            for name, text in lines.items():
                table.add_row(name, escape(text))
            title = f"{self.options.version}-{self.options.size}"
            self.console.print(Panel(table, title=title, title_align="left", expand=False))
        else:
            for name, text in lines.items():
                self.console.print(f"{name:>11}: {text}", markup=False, soft_wrap=True)
        if summary.best is not None:  # outside the frame, to be copied in one piece
            weights = shlex.quote(str(summary.out / "best.pth"))
            command = f"denoise clean --model {weights} recording.wav"
            self.console.print(command, style="bold", markup=False, soft_wrap=True)


def _told(summary: Summary) -> dict[str, str]:
    """A finished run in a few named lines."""
    rows, best, damaged = summary.rows, summary.best, summary.damaged
    steps = rows[-1]["step"] if rows else 0
    seconds = sum(row["train_seconds"] for row in rows)
    lines = {
        "end": summary.reason,
        "trained": f"{_count(len(rows), 'epoch')}, {_count(steps, 'step')}, {duration(seconds)}",
        "best": "no epoch: the validation never gave a number",
    }
    if best is not None:
        lines["best"] = (
            f"epoch {best['epoch']}: SI-SDR {best['validation_si_sdr']:.2f} dB "
            f"({best['validation_si_sdr_gain']:+.2f} dB gain over the noisy input), "
            f"PSNR {best['validation_psnr']:.2f} dB, loss {best['validation_loss']:.4f}"
        )
    if summary.skipped:
        lines["skipped"] = (
            f"{_count(summary.skipped, 'step')} whose gradients were not numbers; "
            "--clip-norm 1 or a lower --lr may help"
        )
    if damaged:
        names = ", ".join(str(path) for path in damaged[:_NAMED])
        more = f" and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
        lines["passed over"] = (
            f"{_count(len(damaged), 'file')} that could not be decoded: {names}{more}"
        )
    if summary.licence:
        lines["warning"] = f"these weights are for {summary.licence}"
    lines["results"] = str(summary.out)
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time in the two units that matter, such as "3 h 20 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
