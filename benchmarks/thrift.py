"""What `--accumulate` and `--recompute` save, and what they cost.

python -m benchmarks.thrift [--json FILE]

Every way of computing one training step of v4 runs in a process of its own, one way after the
other, round after round. Memory is what the process grows by over its size before the first step;
time is that of the fastest step; the medians over rounds are shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from audio_denoising.dsp.spectrum import BINS, FRAMES
from audio_denoising.training.learner import build_learner
from audio_denoising.training.options import TrainingOptions
from benchmarks.measuring import (
    describe_machine,
    in_fresh_process,
    markdown_table,
    report,
    resident,
    set_up,
)

WAYS = {
    "all at once": {"parts": 1, "recompute": False},
    "--recompute": {"parts": 1, "recompute": True},
    "--accumulate 4": {"parts": 4, "recompute": False},
    "--accumulate 4 --recompute": {"parts": 4, "recompute": True},
}
SIZE, BATCH, ROUNDS, STEPS = "large", 8, 3, 3


def measure(way: str) -> dict[str, float]:
    """MiB that a training step takes in this process, and its seconds."""
    set_up(None)
    options = TrainingOptions("v4", size=SIZE, batch_size=BATCH)
    learner = build_learner(options, torch.device("cpu"), **WAYS[way])
    noisy, clean = torch.rand(2, BATCH, 1, BINS, FRAMES)
    before, seconds = resident("VmRSS"), []
    for _ in range(STEPS):
        started = time.perf_counter()
        learner.step(noisy, clean, 1e-4)
        seconds.append(time.perf_counter() - started)
    return {"growth_mib": resident("VmHWM") - before, "seconds": min(seconds)}


def thrift_table(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    plain = results["ways"]["all at once"]
    rows = [
        [
            f"`{way}`" if way.startswith("-") else way,
            f"{found['growth_mib']:.0f}",
            f"{found['growth_mib'] / plain['growth_mib']:.2f}",
            f"{found['seconds'] / plain['seconds']:.2f}",
        ]
        for way, found in results["ways"].items()
    ]
    return markdown_table(["way", "memory, MiB", "memory, ratio", "time, ratio"], rows) + (
        f"\n\nA training step of v4-{results['size']} with a batch of {results['batch']}."
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the results")
    given = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, rounds in found.items():
            rounds.append(in_fresh_process(measure, way, threads=torch.get_num_threads()))
    ways = {
        way: {name: median(each[name] for each in rounds) for name in rounds[0]}
        for way, rounds in found.items()
    }
    results = {"machine": describe_machine(), "size": SIZE, "batch": BATCH, "ways": ways}
    report(results, given.json, thrift_table(results))


if __name__ == "__main__":
    main()
