"""The live display of a training run: a bar for the epoch, a line for every finished one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .history import Row
from .material import Material
from .options import TrainingOptions


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
        self.since = (0.0, 0)  # (time, steps done) when this epoch's clock started

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

    def stepped(self, epoch: int, step: int, loss: float, image_psnr: float) -> None:
        """Moves the bar."""
        if not self.since[0]:
            self.since = (time.monotonic(), step)
            self.progress.reset(self.task, total=self.steps, completed=step, visible=True)
        elapsed, done = time.monotonic() - self.since[0], step - self.since[1]
        rate = done * self.options.batch_size / elapsed if done else 0.0
        self.progress.update(
            self.task,
            completed=step,
            description=f"epoch {epoch}/{self.options.epochs}",
            figures=f"loss {loss:.4f}  PSNR {image_psnr:.2f} dB  {rate:.1f} samples/s",
        )

    def finished_epoch(self, row: Row, is_best: bool) -> None:
        """Prints the epoch's figures."""
        self.since = (0.0, 0)
        self.progress.update(self.task, visible=False)
        self.console.print(
            f"epoch {row['epoch']:>3}  "
            f"train loss {row['train_loss']:.4f} PSNR {row['train_psnr']:.2f} dB  "
            f"validation loss {row['validation_loss']:.4f} PSNR {row['validation_psnr']:.2f} dB "
            f"SI-SDR {row['validation_si_sdr']:.2f} dB ({row['validation_si_sdr_gain']:+.2f})"
            f"{'  best' if is_best else ''}"
        )

    def finished(self, damaged: Sequence[str | Path]) -> None:
        """Names the files that training passed over."""
        if damaged:
            names = ", ".join(str(path) for path in damaged[:5])
            more = f" and {len(damaged) - 5} more" if len(damaged) > 5 else ""
            self.console.print(
                f"{len(damaged)} files could not be decoded and were passed over: {names}{more}",
                markup=False,
                soft_wrap=True,
            )
