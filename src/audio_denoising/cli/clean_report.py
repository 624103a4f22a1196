"""What `denoise clean` tells at its end: the outputs, the speed, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from audio_denoising.counting import counted
from audio_denoising.errors import as_typed

if TYPE_CHECKING:
    from audio_denoising.cleaning.batch import Outcome
    from audio_denoising.cleaning.cluster import Result
    from audio_denoising.cleaning.jobs import Job
    from audio_denoising.cleaning.tasks import Task

console = Console(highlight=False, emoji=False)
errors = Console(stderr=True, highlight=False, emoji=False)


def print_many(outcomes: Sequence[Outcome | Result], elapsed: float) -> int:
    """The sum, what failed, and the exit code that says so."""
    print_sum(outcomes, console, elapsed)
    for outcome in outcomes:
        print_troubles(outcome)
    failed = sum(outcome.failed for outcome in outcomes)
    if failed:
        errors.print(f"{failed} of {counted(len(outcomes), 'file')} failed or came out incomplete")
    return int(failed > 0)


def print_outputs(job: Job | Task, style: str | None = None) -> None:
    """The files that were written."""
    for output in job.outputs:
        console.print(str(output), style=style, markup=False, soft_wrap=True)


def print_left_out(told: Sequence[str], planned: int, waiting: int) -> None:
    """What is not cleaned: the sentences told, and how many inputs have their outputs already."""
    for sentence in told:
        console.print(sentence, markup=False, soft_wrap=True)
    if waiting < planned:
        there = planned - waiting
        console.print(f"{there} of {counted(planned, 'file')} left out: the output exists")


def print_sum(outcomes: Sequence[Outcome | Result], console: Console, elapsed: float = 0.0) -> None:
    """How much sound was cleaned, how fast and by what."""
    reports = [outcome.report for outcome in outcomes if outcome.report is not None]
    if not reports:
        return
    many = f"{counted(len(reports), 'file')}, " if len(outcomes) > 1 else ""
    elapsed = elapsed or reports[0].elapsed
    seconds = sum(report.seconds for report in reports)
    console.print(
        f"{many}{seconds:.1f} s of audio in {elapsed:.1f} s (real-time factor "
        f"{elapsed / seconds:.3f}), model {reports[0].model}, device {reports[0].device}",
        soft_wrap=True,
    )


def print_troubles(outcome: Outcome | Result, hidden: str = "") -> None:
    """What the user should know; ``hidden`` is a folder that is nobody's business."""
    told = [f"Warning: {warning}" for warning in outcome.report.warnings] if outcome.report else []
    if outcome.sentence:
        told.append(f"{'Warning' if outcome.report else 'Error'}: {outcome.sentence}")
    for line in told:
        text = as_typed(line.replace(hidden, "") if hidden else line)
        errors.print(text, markup=False, soft_wrap=True)
