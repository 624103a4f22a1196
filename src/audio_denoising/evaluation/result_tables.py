"""Prints an evaluation: all metrics over each part, then the main ones by level and by noise."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from audio_denoising.evaluation.results import NOISY, Mean, Means, PartSummary
from audio_denoising.evaluation.scores import METRICS

BY_LEVEL = ("si_sdr", "pesq_wb", "stoi")
BY_NOISE = ("si_sdr", "pesq_wb")


def print_tables(
    console: Console, summaries: Sequence[PartSummary], factors: Mapping[str, float]
) -> None:
    """Prints everything; ``factors`` are the real-time factors by candidate.

    Half of the 95 % interval stands below every mean.
    """
    for summary in summaries:
        _headline(console, f"{summary.part}: {summary.count} recordings")
        console.print(_overall(summary.overall, factors))
        if len(summary.by_snr) > 1:
            for metric in BY_LEVEL:
                _print(console, metric, "by signal-to-noise ratio", summary.by_snr, _level)
        if len(summary.by_noise) > 1:
            for metric in BY_NOISE:
                _print(console, metric, "by kind of noise", summary.by_noise, str)


def _headline(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, "bold"))


def _overall(means: Means, factors: Mapping[str, float]) -> Table:
    """A row for every candidate, a column for every metric that has values."""
    shown = [key for key in METRICS if any(key in found for found in means.values())]
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for key in shown:
        table.add_column(METRICS[key].title.replace(" ", "\n"), justify="right", no_wrap=True)
    table.add_column("RTF", justify="right", no_wrap=True)
    for name, found in means.items():
        cells = [_stacked(found.get(key), METRICS[key].digits) for key in shown]
        table.add_row(name, *cells, f"{factors[name]:.3f}" if name in factors else "")
    return table


def _print(
    console: Console,
    metric: str,
    how: str,
    groups: Mapping[Hashable, Means] | Mapping[float, Means] | Mapping[str, Means],
    title: Callable[..., str],
) -> None:
    """A row for every group, a column for every candidate."""
    names = list(next(iter(groups.values())))
    if not any(metric in means[name] for means in groups.values() for name in names):
        return
    console.print()
    console.print(Text(f"{METRICS[metric].title} {how}"))
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column("noisy" if name == NOISY else name, justify="right", no_wrap=True)
    for group, means in groups.items():
        cells = [_stacked(means[name].get(metric), METRICS[metric].digits) for name in names]
        table.add_row(title(group), *cells)
    console.print(table)


def _level(level: float) -> str:
    return f"{level:g} dB"


def _stacked(mean: Mean | None, digits: int) -> Text:
    if mean is None:
        return Text("-", "dim")
    value = f"{mean.mean:.{digits}f}"
    if mean.count < 2:  # a single score says nothing of chance
        return Text(value)
    return Text.assemble(value, "\n", (f"±{(mean.high - mean.low) / 2:.{digits}f}", "dim"))
