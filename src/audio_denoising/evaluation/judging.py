"""Runs every candidate on every item of a test set, on several processes, and scores the outputs.

Each process computes with one thread. So the scores do not depend on how many processes there
are, nor on which of them an item falls to.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch

from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.corpora.corpus import DamagedRecording
from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.evaluation.peers import PEERS
from audio_denoising.evaluation.results import NOISY, Evaluation, Result, this_run
from audio_denoising.evaluation.scores import score
from audio_denoising.evaluation.testset import Item, at_16_khz, digest
from audio_denoising.models.versions import VERSIONS, has_weights, locate, title_of
from audio_denoising.samples import Samples

MODELS = tuple(name for name in VERSIONS if has_weights(name))

Cleaner = Callable[[Samples, int], Samples]
"""Takes a waveform ``(L,)`` and its rate in Hz; returns the denoised waveform ``(L,)``."""
Judged = tuple[Result, dict[str, float]]
"""A result, and the seconds of work of every candidate."""


@dataclass(frozen=True)
class Candidate:
    """A denoiser by name; the denoiser itself is built in the process that uses it.

    ``title`` stands in the tables; ``source`` is a version, a checkpoint file or a peer's name.
    """

    title: str
    source: str

    @property
    def is_peer(self) -> bool:
        """Whether it is a package to compare with, rather than a network of this project."""
        return self.source in PEERS

    def build(self) -> Cleaner:
        """Loads it, to run on the CPU, and tries it out.

        Raises:
            UserError: unknown name, unreadable checkpoint, or a package that is not installed.
        """
        if self.is_peer:
            cleaner: Cleaner = PEERS[self.source].clean
        else:
            denoiser = Denoiser(self.source, device="cpu")
            cleaner = lambda noisy, rate: np.asarray(denoiser(noisy, rate))  # noqa: E731
        # Once for nothing: what the first call has to load shows here, and is not timed later.
        cleaner(np.sin(np.arange(SAMPLE_RATE), dtype=np.float32), SAMPLE_RATE)
        return cleaner

    def digest(self) -> str:
        """First half of the SHA-256 of the weights: 32 hex digits."""
        return hashlib.sha256(locate(self.source).read_bytes()).hexdigest()[:32]


def candidates(models: Sequence[str], *, peers: bool) -> list[Candidate]:
    """The candidates of a run, in the order of the tables."""
    chosen = [Candidate(title_of(name), name) for name in dict.fromkeys(models)]
    return chosen + ([Candidate(name, name) for name in PEERS] if peers else [])


def evaluate(
    items: Sequence[Item],
    candidates: Sequence[Candidate],
    *,
    jobs: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Judges ``candidates`` and the noisy input on ``items``, on ``jobs`` processes (1: this one).

    ``progress`` is called with the number of items that are done.

    Raises:
        UserError: a recording cannot be read, a package is missing, or a process was ended.
    """
    # Not a fork: libraries that have started threads do not survive one.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(items)), spawn, _start) if jobs > 1 else None
    threads, judged = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for each in (pool.map if pool else map)(partial(_judge, tuple(candidates)), items):
            judged.append(each)
            progress(len(judged))
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was ended from outside, perhaps for want of memory: try --jobs 1"
        ) from error
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
        _built.cache_clear()
        torch.set_num_threads(threads)
    results = [result for result, _ in judged]
    total = sum(result.seconds for result in results)
    factors = {
        each.title: sum(work[each.title] for _, work in judged) / total for each in candidates
    }
    weights = {each.title: each.digest() for each in candidates if not each.is_peer}
    names = [NOISY, *(each.title for each in candidates)]
    return Evaluation(results, factors, weights, [this_run(names, jobs)])


@cache
def _built(candidates: tuple[Candidate, ...]) -> dict[str, Cleaner]:
    return {each.title: each.build() for each in candidates}


def _judge(candidates: tuple[Candidate, ...], item: Item) -> Judged:
    cleaners = _built(candidates)
    try:
        clean, noisy, rate = item.source.load()
    except DamagedRecording as error:
        raise UserError(f"{error}: take another copy of it") from error
    reference = at_16_khz(clean, rate)
    scores = {}
    if noisy is not clean:  # as clean speech is
        scores[NOISY] = score(at_16_khz(noisy, rate), reference)
    work = {}
    for title, cleaner in cleaners.items():
        since = time.perf_counter()
        estimate = cleaner(noisy, rate)
        work[title] = time.perf_counter() - since
        scores[title] = score(at_16_khz(estimate, rate), reference)
    seconds = noisy.size / rate
    what = (item.part, item.name, item.noise_class, item.snr_db, seconds, digest(noisy))
    return Result(*what, scores), work


def _start() -> None:
    # Ctrl-C reaches the workers too: they end at once and leave the words to the parent.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
