"""Our engine beside torch.nn on v5: time and memory of the same training step on the same batch.

python -m benchmarks.engine_v5 [--size small|base|large] [--batch N] [--frames N] [--rounds N]
    [--processes 1 2] [--json PATH]

A step is all that training does with a batch of waveforms: spectrum, features, network, loss,
backward pass, clipping and AdamW. Both sides take turns in one process with one thread, in an order
that rotates. v5 is trained by one such process a core, so with two processes the same is measured
in both at once, each side beside itself. The baseline is the library at its best: the torch.nn twin
with autograd, the fused AdamW, and the loss in the form that autograd is fastest on.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from audio_denoising.dsp.compressed_spectrum import CompressedSpectrumLoss, hear
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.errors import UserError
from audio_denoising.models.twin import build_twin
from audio_denoising.training.learner import WEIGHT_DECAY, Learner
from audio_denoising.training.options import TrainingOptions
from benchmarks.measuring import (
    Series,
    describe_machine,
    growth,
    markdown_table,
    middle,
    ratio,
    real_mixtures,
    report,
    set_up,
    with_spread,
)

OURS, TORCH = "ours", "torch_nn"
SIDES = (OURS, TORCH)
RATE, CLIP = 1e-3, 3.0
HOP = 256
TOLERANCE = 1e-4  # of the second loss, relative: both sides have taken the same first step
PATIENCE = 600  # seconds that a process waits for the other one

Batch = tuple[Tensor, Tensor]
Step = Callable[[], float]


def make_step(side: str, size: str, batch: Batch) -> Step:
    """A training step of one side; both start from the same weights. It returns the loss."""
    noisy, clean = batch
    transform = HalfOverlap()
    torch.manual_seed(0)
    if side == OURS:  # the very learner that training uses
        learner = Learner(TrainingOptions("v5", size, clip_norm=CLIP), torch.device("cpu"))
        hear_ours = learner.representation.hear
        return lambda: float(learner.step(hear_ours(noisy), clean, RATE).loss)

    twin = build_twin("v5", size)
    weights = list(twin.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in weights if p.dim() > 1]},
        {"params": [p for p in weights if p.dim() < 2], "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups, RATE, weight_decay=WEIGHT_DECAY, fused=True)

    def their_step() -> float:
        theirs.zero_grad()
        heard = hear(noisy, transform)
        value = CompressedSpectrumLoss(transform)(twin(heard.features), heard, clean)
        value.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        theirs.step()
        return float(value.detach())

    return their_step


def rounds(size: str, batch: int, frames: int, count: int) -> dict[str, Series]:
    """Seconds of a step of each side in each round, in this process: by the clock, and of a core.

    Raises:
        UserError: the sides do not compute the same, so their times cannot be compared.
    """
    waves = real_mixtures(batch, (frames + 1) * HOP)
    steps = {side: make_step(side, size, waves) for side in SIDES}
    losses = [[step() for step in steps.values()] for _ in range(2)]  # these also warm up
    first, other = losses[-1]
    if not abs(first - other) <= TOLERANCE * abs(other):
        raise UserError(f"after a step from the same weights the losses differ: {first}, {other}")
    clock: Series = {side: [] for side in SIDES}
    core: Series = {side: [] for side in SIDES}
    for number in range(count):
        for side in SIDES if number % 2 else SIDES[::-1]:
            _wait()
            start, worked = time.perf_counter(), time.process_time()
            steps[side]()
            clock[side].append(time.perf_counter() - start)
            core[side].append(time.process_time() - worked)
    return {"seconds": clock, "core_seconds": core}


_barrier: Any = None  # at which processes that measure at the same time meet before every step


def _start(barrier: Barrier | None) -> None:
    global _barrier
    _barrier = barrier
    set_up(1)


def _wait() -> None:
    if _barrier is not None:
        try:
            _barrier.wait(PATIENCE)
        except BrokenBarrierError as error:
            raise UserError("the other process that measures is gone: no times") from error


def grown(side: str, size: str, batch: int, frames: int) -> float:
    """MiB by which this process grows."""
    waves = real_mixtures(batch, (frames + 1) * HOP)
    return growth(lambda: make_step(side, size, waves))


def in_processes(count: int, call: Callable[..., Any], *arguments: Any) -> list[Any]:
    """The same call in fresh processes of one thread each, at the same time."""
    fresh = multiprocessing.get_context("spawn")
    barrier = fresh.Barrier(count) if count > 1 else None
    with ProcessPoolExecutor(count, fresh, _start, (barrier,)) as pool:
        return [each.result() for each in [pool.submit(call, *arguments) for _ in range(count)]]


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as the JSON file has it."""
    network = given.size, given.batch, given.frames
    memory = {side: in_processes(1, grown, side, *network)[0] for side in SIDES}
    audio = given.batch * (given.frames + 1) * HOP / SAMPLE_RATE
    found = []
    for count in given.processes:
        each = in_processes(count, rounds, *network, given.rounds)
        taken: dict[str, Series] = {
            clock: {side: [s for one in each for s in one[clock][side]] for side in SIDES}
            for clock in ("seconds", "core_seconds")
        }
        speeds = {side: audio / middle(taken["core_seconds"][side]) for side in SIDES}
        found.append(
            {
                "processes": count,
                "train_step": ratio(taken["seconds"], OURS, TORCH),
                "audio_seconds_per_core_second": speeds,
                **taken,
            }
        )
    return {
        "train_step_ratio": found[0]["train_step"]["median"],
        "peak_memory_ratio": memory[OURS] / memory[TORCH],
        "memory_mib": memory,
        "trials": found,
    }


def table(results: Mapping[str, Any]) -> str:
    """A row for each number of processes."""
    settings, memory = results["settings"], results["memory_mib"]
    columns = ["processes of one thread", "training step, ours ÷ torch.nn"]
    columns += ["ours, s of audio per core-second", "torch.nn"]
    rows = []
    for trial in results["trials"]:
        speeds = [f"{trial['audio_seconds_per_core_second'][side]:.1f}" for side in SIDES]
        rows.append([str(trial["processes"]), with_spread(trial["train_step"]), *speeds])
    return markdown_table(columns, rows) + (
        f"\n\nv5-{settings['size']}, {settings['batch']} clips of {settings['frames']} frames of "
        f"16 ms. Peak memory, ours ÷ torch.nn: {results['peak_memory_ratio']:.2f} "
        f"({memory[OURS]:.0f} and {memory[TORCH]:.0f} MiB)."
    )


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the table, keeps every round."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=("small", "base", "large"), default="base")
    parser.add_argument("--batch", type=int, default=16, help="clips in a step")
    parser.add_argument("--frames", type=int, default=125, help="of 16 ms in a clip")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="file for everything measured")
    given = parser.parse_args(arguments)
    names = ("size", "batch", "frames", "rounds")
    head = {"settings": {name: getattr(given, name) for name in names} | {"threads": 1}}
    try:
        with Console(stderr=True).status("memory, then training steps of both sides in turn"):
            results = head | {"machine": describe_machine()} | measure(given)
    except UserError as error:
        sys.exit(f"{error}")
    report(results, given.json, table(results))


if __name__ == "__main__":
    main()
