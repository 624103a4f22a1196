"""Measures several ways of doing the same thing in turn, so that all meet the same machine.

A machine is never quiet: its clock, its other guests and its caches change over seconds. One round
measures every contestant once, next to each other and in an order that rotates; the ratio of two
contestants is taken within each round, and the median of those ratios is reported with its
quartiles.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from statistics import median, quantiles
from typing import Any

Seconds = dict[str, float]
Trial = Callable[[], Seconds]  # runs once; says how long each of its phases took
Series = dict[str, list[float | None]]  # contestant -> seconds in each round, None where it sat out

BRIEF = 0.03  # seconds; a shorter trial is repeated within its round and averaged
FEW = 3  # rounds that a slow contestant takes part in


def timed(phase: str, call: Callable[[], object]) -> Trial:
    """A trial of one phase: how long `call` takes."""

    def trial() -> Seconds:
        start = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - start
        del result  # freeing the result is not part of the time
        return {phase: seconds}

    return trial


def interleaved(
    trials: Mapping[str, Trial],
    rounds: int,
    slow: Collection[str] = (),
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Series]:
    """Runs every trial once in each round, after a warm-up that is not counted.

    Args:
        trials: contestant -> trial; all report the same phases.
        rounds: how many. slow: contestants that take part in only `FEW` of them, spread evenly.
        advance: called after each round, for a progress display.

    Returns:
        phase -> contestant -> seconds in each round.
    """
    names = list(trials)
    repeats = {}
    for name, trial in trials.items():
        took = sum(trial().values())  # the first call also allocates, compiles and fills caches
        if took < 10 * BRIEF:
            took = sum(trial().values())
        repeats[name] = max(1, min(100, math.ceil(BRIEF / max(1e-9, took))))
    few = {round(i * (rounds - 1) / (FEW - 1)) for i in range(FEW)}
    results: dict[str, Series] = {}
    for number in range(rounds):
        turn = number % len(names)
        taken: dict[str, Seconds] = {}
        for name in names[turn:] + names[:turn]:
            if name in slow and number not in few:
                continue
            runs = [trials[name]() for _ in range(repeats[name])]
            taken[name] = {phase: sum(r[phase] for r in runs) / len(runs) for phase in runs[0]}
        for phase in taken[names[0]]:
            series = results.setdefault(phase, {name: [] for name in names})
            for name in names:
                series[name].append(taken[name][phase] if name in taken else None)
        advance()
    return results


def middle(values: list[float | None]) -> float:
    """The median of the rounds that were run."""
    return median(value for value in values if value is not None)


def better(series: Series, names: Collection[str]) -> str:
    """The contestant among `names` with the smallest median time."""
    return min(names, key=lambda name: middle(series[name]))


def ratio(series: Series, over: str, under: str) -> dict[str, Any]:
    """Time of `over` divided by time of `under`: median and quartiles of the ratios of each round.

    Only rounds that both took part in count.
    """
    pairs = zip(series[over], series[under], strict=True)
    ratios = [a / b for a, b in pairs if a is not None and b is not None]
    low, mid, high = quantiles(ratios, n=4, method="inclusive") if ratios[1:] else ratios * 3
    return {"of": over, "to": under, "median": mid, "quartiles": [low, high], "rounds": len(ratios)}
