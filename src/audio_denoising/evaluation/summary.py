"""Means of the scores: over each part of a test set, at each level and over each kind of noise."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from audio_denoising.evaluation.intervals import Mean, bootstrap_mean
from audio_denoising.evaluation.runner import Result
from audio_denoising.evaluation.scores import METRICS

Group = TypeVar("Group", bound=Hashable)
Means = dict[str, dict[str, Mean]]
"""candidate -> metric -> mean; a metric that is nowhere defined is left out."""


@dataclass(frozen=True)
class PartSummary:
    """What one part of the test set says."""

    part: str
    count: int
    overall: Means
    by_snr: dict[float, Means]
    by_noise: dict[str, Means]


def summarise(results: Sequence[Result]) -> list[PartSummary]:
    """One summary for every part, in the order in which the parts come."""
    return [
        PartSummary(
            part=part,
            count=len(of_part),
            overall=means(of_part),
            by_snr={
                level: means(found)
                for level, found in sorted(_grouped(of_part, lambda r: r.snr_db).items())
            },
            by_noise={
                name: means(found)
                for name, found in sorted(_grouped(of_part, lambda r: r.noise_class).items())
                if name
            },
        )
        for part, of_part in _grouped(results, lambda result: result.part).items()
    ]


def means(results: Sequence[Result]) -> Means:
    """Mean and interval of every metric for every candidate, over what is defined."""
    table: Means = {}
    for name in results[0].scores if results else ():
        found: dict[str, Mean] = {}
        for metric in METRICS:
            values = [result.scores[name].get(metric) for result in results]
            mean = bootstrap_mean([value for value in values if value is not None])
            if mean is not None:
                found[metric] = mean
        table[name] = found
    return table


def real_time_factors(results: Sequence[Result]) -> dict[str, float]:
    """Seconds of work for a second of audio, by candidate: one thread, as busy as the rest was."""
    seconds = fmean(result.seconds for result in results)
    names = results[0].work_seconds
    return {
        name: fmean(result.work_seconds[name] for result in results) / seconds for name in names
    }


def _grouped(
    results: Sequence[Result], key: Callable[[Result], Group | None]
) -> dict[Group, list[Result]]:
    groups: dict[Group, list[Result]] = {}
    for result in results:
        name = key(result)
        if name is not None:
            groups.setdefault(name, []).append(result)
    return groups
