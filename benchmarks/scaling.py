"""What a second process brings: training steps of one and of two processes of one thread each.

torchrun --nproc-per-node 2 -m benchmarks.scaling [--size S] [--batch 8] [--rounds 6] [--json FILE]

Both ways are measured in one call, in turns: in a round the first process makes steps with a whole
batch while the second one rests; then both make steps, once with a batch each (twice the mixtures)
and once with half a batch each (the same mixtures). The torch.nn twin, whose gradients travel by
DistributedDataParallel, does the same. Ratios are those of rates (mixtures in a second), 2 being
perfect; the medians are over rounds. Threads that share a core, as in many rented machines, cannot
reach 2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

from audio_denoising.dsp.spectrum import BINS, FRAMES
from audio_denoising.training.distributed import joined
from audio_denoising.training.learner import Learner, build_learner
from audio_denoising.training.options import ALONE, Processes, TrainingOptions
from benchmarks.measuring import describe_machine, markdown_table, report, set_up

VERSIONS = ("v4", "torch")
RATE = 1e-4  # of learning
SECONDS = 4.0  # that a measurement lasts at least
Rates = dict[str, list[float]]


def measure(version: str, size: str, batch: int, rounds: int, group: Processes) -> Rates:
    """What one of the two processes does; the rates are those that it sees.

    Returns:
        way -> mixtures per second, one for every round.
    """
    images = torch.rand(2, batch, 1, BINS, FRAMES, generator=torch.Generator().manual_seed(0))
    options = TrainingOptions(version, size=size, batch_size=batch)
    alone, shared = (
        build_learner(options, torch.device("cpu"), processes=each) for each in (ALONE, group)
    )
    found: Rates = {"one": [], "two, a batch each": [], "two, half": []}
    for _ in range(rounds + 1):  # the first one warms up
        if group.leads:
            found["one"].append(_rate(alone, images, 1))
        dist.barrier()
        found["two, a batch each"].append(_rate(shared, images, 2))
        dist.barrier()
        found["two, half"].append(_rate(shared, images[:, : batch // 2], 2))
        dist.barrier()
    return {way: values[1:] for way, values in found.items()}


def _rate(learner: Learner, images: torch.Tensor, processes: int) -> float:
    """Mixtures per second; all processes make as many steps as the first finds time for."""
    noisy, clean = images
    started, steps, going = time.perf_counter(), 0, True
    while going:
        learner.step(noisy, clean, RATE)
        steps += 1
        going = time.perf_counter() - started < SECONDS
        if processes > 1:
            wish = torch.tensor(int(going))
            dist.broadcast(wish, src=0)
            going = bool(wish)
    return processes * steps * len(noisy) / (time.perf_counter() - started)


def scaling_table(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    rows = []
    for version, figures in results["versions"].items():
        rates, ratios = figures["samples_per_second"], figures["ratios"]
        steps = rates["one"] / results["batch"]
        both = [f"{rates[way]:.2f} ({ratios[way]:.2f}x)" for way in rates if way != "one"]
        rows.append([version, f"{rates['one']:.2f}", f"{steps:.2f}", *both])
    batch = results["batch"]
    columns = ["network", "one process, mixtures/s", "steps/s"]
    columns += [f"two, {batch} mixtures each", f"two, {batch // 2} each"]
    return markdown_table(columns, rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="small", choices=("small", "large"))
    parser.add_argument("--batch", type=int, default=8, help="mixtures of one process")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path, help="where to write the results")
    arguments = parser.parse_args()
    set_up(1)
    asked = {name: getattr(arguments, name) for name in ("size", "batch", "rounds")}
    with joined() as processes:
        rates = {version: measure(version, **asked, group=processes) for version in VERSIONS}
    if not processes.leads:
        return
    results: dict[str, Any] = {"machine": describe_machine(), **asked, "versions": {}}
    for version, found in rates.items():
        ratios = {
            way: median(two / one for one, two in zip(found["one"], values, strict=True))
            for way, values in found.items()
        }
        results["versions"][version] = {
            "samples_per_second": {way: median(values) for way, values in found.items()},
            "ratios": ratios,
            "rounds": found,
        }
    report(results, arguments.json, scaling_table(results))


if __name__ == "__main__":
    main()
