"""Many recordings, several at a time: a file that fails is told of and does not stop the others.

The recordings are shared out among threads: the arithmetic of torch, the decoders and the resampler
run outside of Python's lock, and one copy of the weights serves all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

from audio_denoising.cleaning.jobs import Job
from audio_denoising.errors import told

if TYPE_CHECKING:
    from audio_denoising.cleaning.recording import Report
    from audio_denoising.cleaning.stream import Progress

CleanJob = Callable[[Job, "Progress"], "Report"]
"""Cleans one recording."""

Watch = Callable[[Job], "Progress"]
"""Called when a recording is begun; what it returns is told the progress."""


@dataclass(frozen=True)
class Outcome:
    """How it went with one recording: a report, or what was wrong."""

    job: Job
    report: Report | None = None
    error: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no output, or one of a damaged input."""
        return self.report is None or bool(self.report.damage)

    @property
    def sentence(self) -> str:
        """What the user should know of a failure; empty if there is none."""
        if self.report is not None:
            return self.report.damage
        assert self.error is not None
        sentence, _ = told(self.error, "denoise --debug clean with this file alone")
        about = any(str(path) in sentence for path in (self.job.input, *self.job.outputs))
        return sentence if about else f"{self.job.input}: {sentence}"


class _Stopped(Exception):
    """Raised in a thread at its next progress, once the run is over before its time."""


def run(
    jobs: Sequence[Job], clean: CleanJob, watch: Watch, *, workers: int = 1
) -> Iterator[Outcome]:
    """Cleans the recordings, ``workers`` at a time.

    Whatever ends the iteration early (Ctrl-C, or nobody asking on) lets no thread outlive it, and
    leaves nothing half-written: the outputs begun are removed.

    Yields:
        The outcomes, as they come.
    """
    stop = Event()

    def one(job: Job) -> Outcome:
        seen = watch(job)

        def progress(done: float, total: float) -> None:
            if stop.is_set():
                raise _Stopped
            seen(done, total)

        try:
            return Outcome(job, clean(job, progress))
        except Exception as error:
            return Outcome(job, error=error)

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
