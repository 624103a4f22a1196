"""How fast training data comes: ours beside the plain way, and beside what training consumes.

python -m benchmarks.data --speech DIR --noise DIR [--workers 0,1,2] [--rounds N] [--json PATH]

The contestants (`data_ways`) run in turn, in interleaved rounds (`measuring`), each with every
number of worker processes. A rate is items (a noisy and a clean image of 2.55 s) per second while
a loader is running: starting its workers is not counted, an epoch does that once. "Cold" means that
every item is decoded from its recordings; their files are in the system's page cache after the
first round, so this measures decoding, not a disk. The training step is one of v4-small on our
engine, measured alone; on a machine without a GPU it shares its processors with the workers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from audio_denoising.errors import UserError
from audio_denoising.training.learner import ScratchLearner
from audio_denoising.training.options import TrainingOptions
from benchmarks.data_report import STEP, data_table, ratio_table
from benchmarks.data_ways import CACHED, COLD, PLAIN, WAYS, Images, Way, make_ways, take_sample
from benchmarks.measuring import Trial, better, describe_machine, interleaved, ratio, report, set_up

BATCH = 16
BATCHES = 4  # timed in a trial
STEP_BATCH = 8
PHASE = "seconds"


def trial(way: Way, workers: int) -> Trial:
    """How long `BATCHES` batches take once the loader is running."""
    epoch = 0

    def run() -> dict[str, float]:
        nonlocal epoch
        epoch += 1
        found = way(epoch, workers)
        # Workers have two batches each ready before anybody asks; those are not what they can keep
        # up, and come first.
        for _ in range(2 * workers + 2 if workers else 1):
            next(found)
        start = time.perf_counter()
        for _ in range(BATCHES):
            next(found)
        return {PHASE: time.perf_counter() - start}

    return run


def step_trial(batch: Images) -> Trial:
    """How long v4-small needs to train on as many items; one step is measured."""
    options = TrainingOptions("v4", "small")
    learner = ScratchLearner(options, torch.device("cpu"))
    noisy, clean = (part[:STEP_BATCH, None] for part in batch)

    def run() -> dict[str, float]:
        start = time.perf_counter()
        learner.step(noisy, clean, options.learning_rate)
        return {PHASE: (time.perf_counter() - start) * BATCH * BATCHES / len(noisy)}

    return run


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything, as the JSON file has it."""
    sample = take_sample(given.speech, given.noise, folder, given.files)
    longest = 2 * max(given.workers) + 2 + BATCHES
    ways = make_ways(sample, BATCH, epoch_size=longest * BATCH)
    trials = {
        f"{name} {workers}": trial(ways[name], workers)
        for name in WAYS
        for workers in given.workers
    }
    trials[STEP] = step_trial(next(ways[COLD](0, 0)))
    (series,) = interleaved(trials, given.rounds).values()
    best = {name: better(series, [t for t in trials if t.startswith(name)]) for name in WAYS}
    ratios = {
        "over_plain": ratio(series, best[PLAIN], best[CACHED]),
        "over_plain_cold": ratio(series, best[PLAIN], best[COLD]),
        "over_step": ratio(series, STEP, best[CACHED]),
        "over_step_cold": ratio(series, STEP, best[COLD]),
    }
    lengths = {
        what: sum(each.seconds for each in found) / len(found)
        for what, found in (("speech", sample.speech), ("noise", sample.noise))
    }
    return {
        **{name: found["median"] for name, found in ratios.items()},
        "settings": {
            "batch": BATCH,
            "step_batch": STEP_BATCH,
            "rounds": given.rounds,
            "workers": given.workers,
            "threads": torch.get_num_threads(),
            "files": {"speech": len(sample.speech), "noise": len(sample.noise)},
            "mean_seconds": lengths,
        },
        "machine": describe_machine(),
        "ratios": ratios,
        "items_per_second": {name: rates(times) for name, times in series.items()},
    }


def rates(times: list[float | None]) -> list[float]:
    """Items per second in each round."""
    return [BATCH * BATCHES / seconds for seconds in times if seconds is not None]


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", type=Path, required=True, help="folder to sample speech from")
    parser.add_argument("--noise", type=Path, required=True, help="folder to sample noise from")
    parser.add_argument("--workers", default="0,1,2", help="numbers of worker processes (0,1,2)")
    parser.add_argument("--files", type=int, default=64, help="recordings of each kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="by default as many as torch takes")
    parser.add_argument("--json", type=Path, help="file for everything measured")
    given = parser.parse_args(arguments)
    given.workers = [int(word) for word in given.workers.split(",")]
    return given


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the tables, keeps every round."""
    given = _parse(arguments)
    set_up(given.threads)
    status = Console(stderr=True).status("decoding the same recordings in every way")
    try:
        with status, tempfile.TemporaryDirectory() as folder:
            results = measure(given, Path(folder))
    except UserError as error:
        sys.exit(f"{error}")
    report(results, given.json, data_table(results), ratio_table(results))


if __name__ == "__main__":
    main()
