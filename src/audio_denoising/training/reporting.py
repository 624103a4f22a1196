"""What a training run tells whoever watches it: the display, the logs, or nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from audio_denoising.training.history import Row
from audio_denoising.training.material import Material
from audio_denoising.training.validation import Clip


@dataclass(frozen=True)
class StepReport:
    """One training step. Figures are means over the batch, whatever the number of processes.

    Attributes:
        epoch, batch: where in the run, both counted from 1; step: of the whole run.
        loss, psnr: of this step; psnr in dB, of the spectrogram image.
        mean_loss, mean_psnr: over the epoch so far, without skipped steps.
        gradient_norm: joint L2 norm of all gradients before they are clipped.
        learning_rate: as the schedule had it.
        samples_per_second: mixtures, over the epoch so far.
        skipped: the loss or its gradient was not a number, so that the weights stayed.
    """

    epoch: int
    batch: int
    step: int
    loss: float
    psnr: float
    mean_loss: float
    mean_psnr: float
    gradient_norm: float
    learning_rate: float
    samples_per_second: float
    skipped: bool


@dataclass(frozen=True)
class Summary:
    """A run that came to its end.

    Attributes:
        reason: why it ended, such as "all 50 epochs are done".
        rows: one for every epoch. best: the one whose weights `best.pth` holds, if any.
        skipped: steps whose loss or gradient was not a number.
        damaged: what could not be decoded and was passed over.
        out: the folder with the results.
        licence: what the recordings demand of who uses the weights, if anything.
    """

    reason: str
    rows: Sequence[Row]
    best: Row | None
    skipped: int
    damaged: Sequence[str | Path]
    out: Path
    licence: str = ""


class Reporter(Protocol):
    """Who is told how the run goes."""

    def started(
        self, material: Material, device: torch.device, steps: int, resumed_at: int
    ) -> None:
        """Before the first step; `steps` of an epoch."""

    def stepped(self, report: StepReport) -> None:
        """After every step."""

    def finished_epoch(self, row: Row, is_best: bool, clips: Callable[[], list[Clip]]) -> None:
        """After validation; `clips` cleans some fixed validation mixtures when it is called."""

    def finished(self, summary: Summary) -> None:
        """After the last epoch."""


class Reporters:
    """Several reporters as one. None at all is a run that nobody watches."""

    def __init__(self, *reporters: Reporter) -> None:
        self.reporters = reporters

    def started(
        self, material: Material, device: torch.device, steps: int, resumed_at: int
    ) -> None:
        """Tells everyone."""
        for reporter in self.reporters:
            reporter.started(material, device, steps, resumed_at)

    def stepped(self, report: StepReport) -> None:
        """Tells everyone."""
        for reporter in self.reporters:
            reporter.stepped(report)

    def finished_epoch(self, row: Row, is_best: bool, clips: Callable[[], list[Clip]]) -> None:
        """Tells everyone."""
        for reporter in self.reporters:
            reporter.finished_epoch(row, is_best, clips)

    def finished(self, summary: Summary) -> None:
        """Tells everyone."""
        for reporter in self.reporters:
            reporter.finished(summary)
