"""Kills a training run again and again, at random moments, and demands the end it would have had.

SIGKILL, SIGTERM and SIGINT come in turn: the out-of-memory killer or a power cut, the end of a
rented machine, Ctrl-C. Moments are drawn: while the program starts, between two checkpoints, while
one is being written, while the results of an epoch are.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks.fault_runs import NEVER, Run, Training, differences, require

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Every signal meets every moment where there are kills enough, writes most often.
MOMENTS = ("writing", "training", "epoch end", "writing", "starting", "writing", "training")
OPTIONS = ("--schedule", "cosine", "--warmup", "3", "--clip-norm", "1", "--ema", "0.9")


def plan(kills: int) -> list[tuple[signal.Signals, str]]:
    """Which signal comes at which kind of moment."""

    def pairs() -> Iterator[tuple[signal.Signals, str]]:
        for moment in cycle(MOMENTS):
            for number in SIGNALS:
                yield number, moment

    return list(islice(pairs(), kills))


def killed_and_whole(folder: Path, kills: int, seed: int) -> tuple[list[dict[str, Any]], str]:
    """Runs once undisturbed and once with `kills` kills; a row for each, and the comparison.

    Raises:
        Broken: a promise was not kept.
    """
    epochs = 4 + kills // 2  # on average a kill comes two steps after the one before, of four
    whole = Run(folder / "whole", epochs, save_seconds=NEVER, more=OPTIONS)
    whole.finish()
    hurt = Run(folder / "hurt", epochs, workers=1, more=OPTIONS)
    chance = random.Random(seed)
    kinds = track(plan(kills), "kills", console=Console(stderr=True))
    rows = [_kill(hurt, number, moment, chance) for number, moment in kinds]
    require(hurt.step() < epochs * hurt.epoch_steps, "the run ended before the last kill")
    hurt.finish()
    different = differences(whole, hurt)
    require(not different, f"the killed run ended differently: {', '.join(different)}")
    return rows, f"{hurt.step()} steps, weights bit for bit those of an undisturbed run"


def _kill(run: Run, number: signal.Signals, moment: str, chance: random.Random) -> dict[str, Any]:
    """One start, one signal; what came of it."""
    before, since = run.step(), time.monotonic()
    training = run.start()
    _wait_for(moment, run, training, chance)
    begun, writing = training.begun, run.writing() if moment != "starting" else None
    training.send(number)
    code = training.end()
    after = run.step()
    if number == signal.SIGKILL:
        require(code == -number, f"exit code {code} after a SIGKILL: {training.told}")
        writing = run.writing() if begun else None  # what the dead process has left half-written
    elif begun:
        require(code == 0, f"exit code {code} after {number.name}: {training.told}")
        require("Stopped and saved" in training.told, f"it did not say so: {training.told}")
        require(run.writing() is None, "a stopped run left a half-written file")
    require(after >= before, f"step {before} was saved, after {number.name} it is {after}")
    return {
        "signal": number.name,
        "moment": moment,
        "file_being_written": writing,
        "exit_code": code,
        "step_before": before,
        "step_after": after,
        "seconds": time.monotonic() - since,
    }


def _wait_for(moment: str, run: Run, training: Training, chance: random.Random) -> None:
    """Returns at a random moment of the kind."""
    if moment == "starting":
        time.sleep(chance.uniform(0, 3))
        return
    training.wait_until(lambda: training.begun, "its beginning")
    if moment == "epoch end":
        training.wait_until(lambda: run.writing() not in (None, "last.pth"), "the end of an epoch")
        return
    for _ in range(chance.randint(0, 2)):
        run.wait_for_a_save(training)
    if moment == "writing":
        training.wait_until(run.writing, "a write")
        time.sleep(chance.uniform(0, 0.05))
    else:
        time.sleep(chance.uniform(0, 0.2))
