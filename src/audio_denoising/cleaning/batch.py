"""Many recordings, several at a time: a file that fails is told of and does not stop the others.

The recordings are shared out among threads: the arithmetic of torch, the decoders and the resampler
run outside of Python's lock, and one copy of the weights serves all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bars
from rich.progress import TaskID

from audio_denoising.cleaning.settings import Job, Settings
from audio_denoising.errors import UserError, told
from audio_denoising.files import require_file

if TYPE_CHECKING:
    from audio_denoising.cleaning.recording import Progress, Report

CleanJob = Callable[[Job, "Progress"], "Report"]
"""Cleans one recording."""


@dataclass(frozen=True)
class Outcome:
    """How it went with one recording.

    Attributes:
        job: which.
        report: of a recording that was cleaned.
        sentence: what the user should know of a failure; empty if there is none.
    """

    job: Job
    report: Report | None = None
    sentence: str = ""

    @classmethod
    def of_error(cls, job: Job, error: Exception, reworded: Callable[[str], str] = str) -> Outcome:
        """A failure, in a sentence that names the recording."""
        sentence = reworded(told(error, "denoise --debug clean with this file alone")[0])
        named = any(path in sentence for path in (job.input, *job.outputs))
        return cls(job, sentence=sentence if named else f"{job.input}: {sentence}")

    @property
    def failed(self) -> bool:
        """Whether there is no output, or one of a damaged input."""
        return bool(self.sentence)


def clean_all(
    jobs: Sequence[Job], settings: Settings, workers: int, console: Console
) -> Iterator[Outcome]:
    """Cleans the recordings, ``workers`` at a time, under a live display on the console.

    Yields:
        The outcomes, as they come; first those of names that cannot be used.
    """
    ready = []
    for job in jobs:  # before torch and the network are loaded
        try:
            require_file(job.input)
            job.check(force=settings.force, in_place=settings.in_place)
            ready.append(job)
        except UserError as error:
            yield Outcome.of_error(job, error)
    if not ready:
        return
    import torch

    denoiser = settings.load()
    workers = min(workers, len(ready))
    if workers > 1:  # or the files would fight for the cores
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    with Bars(console=console, transient=True, disable=not console.is_terminal) as bars:
        display = _Display(bars, len(ready))

        def clean(job: Job, progress: Progress) -> Report:
            def seen(done: float, total: float) -> None:
                progress(done, total)  # which raises once the run is over
                display.move(job, done, total)

            try:
                return settings.clean(denoiser, job, seen)
            finally:
                display.end(job)

        yield from run(ready, clean, workers=workers)


class _Stopped(Exception):
    """Raised in a thread at its next progress, once the run is over before its time."""


def run(jobs: Sequence[Job], clean: CleanJob, *, workers: int = 1) -> Iterator[Outcome]:
    """Cleans the recordings, ``workers`` at a time.

    Whatever ends the iteration early (Ctrl-C, or nobody asking on) lets no thread outlive it, and
    leaves nothing half-written: the outputs begun are removed.

    Yields:
        The outcomes, as they come.
    """
    stop = Event()

    def go_on(done: float, total: float) -> None:
        if stop.is_set():
            raise _Stopped

    def one(job: Job) -> Outcome:
        try:
            report = clean(job, go_on)
        except Exception as error:
            return Outcome.of_error(job, error)
        return Outcome(job, report, report.damage)

    if workers == 1:
        yield from map(one, jobs)  # in this thread, where Ctrl-C needs no telling
        return
    with ThreadPoolExecutor(workers) as pool:
        try:
            for future in as_completed([pool.submit(one, job) for job in jobs]):
                yield future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


class _Display:
    """A bar for every recording at work, and one for all of them."""

    def __init__(self, bars: Bars, files: int) -> None:
        self._bars = bars
        self._all = bars.add_task("All files", total=files)
        self._at_work: dict[Job, tuple[TaskID, float]] = {}  # bar, and the share that is done
        self._finished = 0

    def move(self, job: Job, done: float, total: float) -> None:
        """Shows how far a recording is, from whatever thread."""
        bar, _ = self._at_work.get(job) or (
            self._bars.add_task(f"Cleaning {escape(Path(job.input).name)}"),
            0.0,
        )
        self._at_work[job] = bar, done / total
        self._bars.update(bar, completed=done, total=total)
        self._move_all()

    def end(self, job: Job) -> None:
        """Takes the bar of a recording away, whatever became of it."""
        if job in self._at_work:
            self._bars.remove_task(self._at_work.pop(job)[0])
        self._finished += 1
        self._move_all()

    def _move_all(self) -> None:
        shares = sum(share for _, share in list(self._at_work.values()))
        self._bars.update(self._all, completed=self._finished + shares)
