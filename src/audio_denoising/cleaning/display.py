"""The live display of a run: a bar for every recording at work, and one for all, with time left."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from audio_denoising.cleaning.batch import Outcome
from audio_denoising.cleaning.jobs import Job

if TYPE_CHECKING:
    from audio_denoising.cleaning.stream import Progress


class CleaningDisplay:
    """Draws on a terminal. Use it in a `with` block.

    Args:
        console: where to draw.
        files: how many recordings there are; beside a single one there is no bar for all.
    """

    def __init__(self, console: Console, files: int) -> None:
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,  # it would leave an empty line in a log
        )
        self._files = files
        self._finished = 0
        self._at_work: dict[Job, tuple[TaskID, float]] = {}  # bar, and the share that is done
        self._all = self._bars.add_task(
            "All files", total=files, visible=files > 1, amount=f"0/{files} files"
        )

    def __enter__(self) -> CleaningDisplay:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def begin(self, job: Job) -> Progress:
        """Shows a bar for a recording, in whatever thread; returns what moves it."""
        bar = self._bars.add_task(f"Cleaning {job.input.name}", total=None, amount="")
        self._at_work[job] = bar, 0.0

        def progress(done: float, total: float) -> None:
            self._at_work[job] = bar, done / total
            amount = f"{done:.0f}/{total:.0f} s"
            self._bars.update(bar, completed=done, total=total, amount=amount)
            self._move_all()

        return progress

    def end(self, outcome: Outcome) -> None:
        """Takes the bar of a recording away, whatever became of it."""
        bar, _ = self._at_work.pop(outcome.job)
        self._bars.remove_task(bar)
        self._finished += 1
        self._move_all()

    def _move_all(self) -> None:
        shares = sum(share for _, share in list(self._at_work.values()))
        amount = f"{self._finished}/{self._files} files"
        self._bars.update(self._all, completed=self._finished + shares, amount=amount)
