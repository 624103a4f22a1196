"""`denoise clean` for many recordings: here, some at a time, or on a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from rich.progress import track

from audio_denoising.cleaning.batch import Outcome, clean_all
from audio_denoising.cleaning.settings import Job, Settings
from audio_denoising.cli.clean import console, errors, print_troubles, told_sum
from audio_denoising.errors import counted

if TYPE_CHECKING:
    from audio_denoising.cli.clean import Load


def clean_here(jobs: Sequence[Job], settings: Settings, load: Load, workers: int) -> int:
    """Cleans ``workers`` recordings at a time, and tells of them; returns the exit code."""
    return _finish(clean_all(jobs, settings, load, workers, console))


def clean_on_cluster(
    jobs: Sequence[Job], settings: Settings, address: str, model: str, device: str, at_once: int
) -> int:
    """Cleans on the Ray at an address, 0 ``at_once``: one for each core; returns the exit code."""
    from audio_denoising.cleaning import cluster

    quiet = not console.is_terminal
    with cluster.connected(address):  # first: a wrong address is told before torch is loaded
        network = cluster.loader(model, device)
        with closing(cluster.run(jobs, settings, network, device, at_once)) as done:
            seen = track(
                done, "All files", len(jobs), console=console, transient=True, disable=quiet
            )
            return _finish(seen)


def _finish(outcomes: Iterable[Outcome]) -> int:
    """Tells the outputs as they come, the sum, and what failed; the exit code says so, too."""
    started = time.perf_counter()
    ended = []
    for outcome in outcomes:
        ended.append(outcome)
        for path in outcome.job.outputs if outcome.report is not None else ():
            console.print(path, markup=False, soft_wrap=True)
    reports = [outcome.report for outcome in ended if outcome.report is not None]
    if reports:
        told = told_sum(reports, time.perf_counter() - started)
        console.print(f"{counted(len(reports), 'file')}, {told}", soft_wrap=True)
    for outcome in ended:
        print_troubles(outcome.report, outcome.sentence)
    failed = sum(bool(outcome.sentence) for outcome in ended)
    if failed:
        errors.print(f"{failed} of {counted(len(ended), 'file')} failed or came out incomplete")
    return int(failed > 0)
