"""The live display of a download: one bar with rate and time left, a line for what happened."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from audio_denoising.corpora.watching import Watcher


class TransferDisplay(Watcher):
    """Prints to a terminal. Use it in a `with` block."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task = self.progress.add_task("", visible=False)

    def __enter__(self) -> TransferDisplay:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """A new bar in place of the old one; ``done`` does not count towards the rate."""
        self.progress.remove_task(self.task)
        self.task = self.progress.add_task(label, total=total, completed=done)

    def advance(self, done: int) -> None:
        """Moves the bar, also backwards where a transfer had to start afresh."""
        self.progress.update(self.task, completed=done)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self.console.print(text, markup=False, soft_wrap=True)
