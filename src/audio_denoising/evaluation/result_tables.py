"""Prints an evaluation: all metrics over each part, then the main ones by level and by noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from audio_denoising.evaluation.results import NOISY, Means
from audio_denoising.evaluation.scores import METRICS

BY_LEVEL = ("si_sdr", "pesq_wb", "stoi")
BY_NOISE = ("si_sdr", "pesq_wb")


def print_tables(
    console: Console, summary: Mapping[str, Mapping[str, Any]], factors: Mapping[str, float]
) -> None:
    """Prints what `results.summarise` found; ``factors`` are real-time factors by candidate.

    Half of the 95 % interval stands below every mean.
    """
    for part, found in summary.items():
        console.print(Text(f"\n{part}: {found['count']} recordings", "bold"))
        console.print(_overall(found["all"], factors))
        levels = {f"{level} dB": means for level, means in found["by_snr"].items()}
        for how, metrics, groups in (
            ("by signal-to-noise ratio", BY_LEVEL, levels),
            ("by kind of noise", BY_NOISE, found["by_noise"]),
        ):
            for metric in metrics if len(groups) > 1 else ():
                if any(metric in each for means in groups.values() for each in means.values()):
                    console.print(Text(f"\n{METRICS[metric].title} {how}"))
                    console.print(_by_group(metric, groups))


def _overall(means: Means, factors: Mapping[str, float]) -> Table:
    """A row for every candidate, a column for every metric that has values."""
    shown = [key for key in METRICS if any(key in found for found in means.values())]
    table = _table([*(METRICS[key].title.replace(" ", "\n") for key in shown), "RTF"])
    for name, found in means.items():
        cells = [_stacked(found.get(key), METRICS[key].digits) for key in shown]
        table.add_row(name, *cells, f"{factors[name]:.3f}" if name in factors else "")
    return table


def _by_group(metric: str, groups: Mapping[str, Means]) -> Table:
    """A row for every group, a column for every candidate."""
    names = list(next(iter(groups.values())))
    table = _table("noisy" if name == NOISY else name for name in names)
    for group, means in groups.items():
        cells = (_stacked(means[name].get(metric), METRICS[metric].digits) for name in names)
        table.add_row(group, *cells)
    return table


def _table(columns: Iterable[str]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _stacked(mean: list[float] | None, digits: int) -> Text:
    if mean is None:
        return Text("-", "dim")
    value, low, high = mean
    if low == high:  # a single score says nothing of chance
        return Text(f"{value:.{digits}f}")
    return Text.assemble(f"{value:.{digits}f}\n", (f"±{(high - low) / 2:.{digits}f}", "dim"))
