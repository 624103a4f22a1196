"""Many recordings, several at a time: a file that fails is told of and does not stop the others.

The recordings are shared out among threads: the arithmetic of torch, the decoders and the resampler
run outside of Python's lock, and one copy of the weights serves all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bars

from audio_denoising.cleaning.settings import Job, Settings
from audio_denoising.errors import UserError, told
from audio_denoising.paths import require_file

if TYPE_CHECKING:
    from audio_denoising.cleaning.cleaner import Cleaner
    from audio_denoising.cleaning.recording import Progress, Report


@dataclass(frozen=True)
class Outcome:
    """How it went with one recording."""

    job: Job
    report: Report | None = None  # where it was cleaned
    sentence: str = ""  # what the user should know of a failure; empty if there is none

    @classmethod
    def of_error(cls, job: Job, error: Exception, reworded: Callable[[str], str] = str) -> Outcome:
        """A failure, in a sentence that names the recording."""
        sentence = reworded(told(error, "denoise --debug clean with this file alone")[0])
        named = any(path in sentence for path in (job.input, *job.outputs))
        return cls(job, sentence=sentence if named else f"{job.input}: {sentence}")


def clean_all(
    jobs: Sequence[Job],
    settings: Settings,
    load: Callable[[], Cleaner],
    workers: int,
    console: Console,
) -> Iterator[Outcome]:
    """Cleans the recordings, ``workers`` at a time, under bars on the console; yields the outcomes
    as they come, first those of names that cannot be used."""
    from audio_denoising.cleaning.recording import clean_recording
    from audio_denoising.media.reading import AudioReader

    ready: list[Job] = []
    for job in jobs:  # before torch and the network are loaded
        try:
            require_file(job.input)
            job.check(settings)
            if not ready:  # up to the first that is sound: for that one they are needed
                AudioReader(job.input).close()
            ready.append(job)
        except UserError as error:
            yield Outcome.of_error(job, error)
    if not ready:
        return
    cleaner = load()
    workers = min(workers, len(ready))
    torch = sys.modules.get("torch")  # which v5 does without
    if workers > 1 and torch is not None:  # or the files would fight for the cores
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    with Bars(console=console, transient=True, disable=not console.is_terminal) as bars:
        every = bars.add_task("All files", total=len(ready))

        def clean(job: Job, progress: Progress) -> Report:
            bar = bars.add_task(f"Cleaning {escape(Path(job.input).name)}", total=None)

            def show(done: float, total: float) -> None:
                progress(done, total)
                bars.update(bar, completed=done, total=total)

            try:
                return clean_recording(cleaner, job, settings, show)
            finally:
                bars.remove_task(bar)

        for outcome in run(ready, clean, workers=workers):
            bars.advance(every)
            yield outcome


class _Stopped(Exception):
    """Raised in a thread at its next progress, once the run is over before its time."""


def run(
    jobs: Sequence[Job], clean: Callable[[Job, Progress], Report], *, workers: int = 1
) -> Iterator[Outcome]:
    """Cleans the recordings, ``workers`` at a time; ``clean`` is to call the progress it is given.

    Whatever ends the iteration early (Ctrl-C, or nobody asking on) lets no thread outlive it, and
    leaves nothing half-written: the outputs begun are removed.
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
