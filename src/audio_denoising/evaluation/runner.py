"""Runs every candidate on every item of a test set, on several processes, and scores the outputs.

Each process computes with one thread. So the scores do not depend on how many processes there
are, nor on which of them an item falls to.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from audio_denoising.corpora.corpus import Recording
from audio_denoising.errors import UserError
from audio_denoising.evaluation.candidates import NOISY, Candidate
from audio_denoising.evaluation.peers import Cleaner
from audio_denoising.evaluation.scores import score
from audio_denoising.evaluation.testset import Item, at_16_khz, digest
from audio_denoising.mixing.mixing import DamagedRecording

Scores = dict[str, float | None]


@dataclass(frozen=True)
class Result:
    """An item with what every candidate got for it.

    ``scores`` and ``work_seconds`` are by candidate; ``seconds`` is the item's length. For an item
    of clean speech there is no noisy input to score.
    """

    part: str
    name: str
    noise_class: str
    snr_db: float | None
    seconds: float
    sha256: str
    as_listed: bool  # False: not the samples that the list was made with
    scores: dict[str, Scores]
    work_seconds: dict[str, float]


def evaluate(
    items: Sequence[Item],
    candidates: Sequence[Candidate],
    *,
    jobs: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Result]:
    """Judges ``candidates`` on ``items``, on ``jobs`` processes (1: this one).

    Returns:
        One result for every item, in their order.

    Raises:
        UserError: a recording cannot be read, a package is missing, or a process was ended.
    """
    if jobs <= 1:
        with _one_thread():
            cleaners = {each.title: each.build() for each in candidates}
            return list(_counted((_judge(item, cleaners) for item in items), progress))
    results: dict[int, Result] = {}
    # Not a fork: libraries that have started threads do not survive one.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(items)), context, _start, (tuple(candidates),))
    try:
        waiting = {pool.submit(_work, item): number for number, item in enumerate(items)}
        for future in as_completed(waiting):
            results[waiting[future]] = future.result()
            progress(len(results))
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was ended from outside, perhaps for want of memory: try --jobs 1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
    return [results[number] for number in range(len(items))]


def _judge(item: Item, cleaners: Mapping[str, Cleaner]) -> Result:
    try:
        clean, noisy, rate = item.load()
    except DamagedRecording as error:
        raise UserError(f"{error}: take another copy of it") from error
    reference = at_16_khz(clean, rate)
    speech_alone = isinstance(item.source, Recording)
    scores = {} if speech_alone else {NOISY: score(at_16_khz(noisy, rate), reference)}
    work = {}
    for title, cleaner in cleaners.items():
        since = time.perf_counter()
        estimate = cleaner(noisy, rate)
        work[title] = time.perf_counter() - since
        scores[title] = score(at_16_khz(estimate, rate), reference)
    found = digest(noisy)
    return Result(
        part=item.part,
        name=item.name,
        noise_class=item.noise_class,
        snr_db=item.snr_db,
        seconds=noisy.size / rate,
        sha256=found,
        as_listed=item.sha256 in ("", found),
        scores=scores,
        work_seconds=work,
    )


_cleaners: dict[str, Cleaner] = {}  # of a worker process


def _start(candidates: Sequence[Candidate]) -> None:
    # Ctrl-C reaches the workers too: they end at once and leave the words to the parent.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    _cleaners.update({each.title: each.build() for each in candidates})


def _work(item: Item) -> Result:
    return _judge(item, _cleaners)


def _counted(results: Iterator[Result], progress: Callable[[int], None]) -> Iterator[Result]:
    for done, result in enumerate(results, 1):
        progress(done)
        yield result


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
