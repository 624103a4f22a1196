"""The live display of a training run: a bar for the epoch, a line for every finished one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .history import Row
from .material import Material
from .options import TrainingOptions
from .reporting import StepReport, Summary
from .validation import Clip


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
            f"[bold]{options.version}-{options.size}[/bold] on {device}, {options.epochs} epochs "
            f"of {steps} steps, batch {options.batch_size}, "
            f"results in {escape(str(self.out))}"
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
            f"{'  best' if is_best else ''}"
        )

    def finished(self, summary: Summary) -> None:
        """Names the files that training passed over."""
        damaged = summary.damaged
        if damaged:
            names = ", ".join(str(path) for path in damaged[:5])
            more = f" and {len(damaged) - 5} more" if len(damaged) > 5 else ""
            self.console.print(
                f"{len(damaged)} files could not be decoded and were passed over: {names}{more}",
                markup=False,
                soft_wrap=True,
            )
