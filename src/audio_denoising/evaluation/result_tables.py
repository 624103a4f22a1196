"""Prints an evaluation: all metrics over each part, then the main ones by level and by noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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
        console.print(Text(f"\n{summary.part}: {summary.count} recordings", "bold"))
        console.print(_overall(summary.overall, factors))
        levels = {f"{level:g} dB": means for level, means in summary.by_snr.items()}
        for how, metrics, groups in (
            ("by signal-to-noise ratio", BY_LEVEL, levels),
            ("by kind of noise", BY_NOISE, summary.by_noise),
        ):
            for metric in metrics if len(groups) > 1 else ():
                if any(metric in found for means in groups.values() for found in means.values()):
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


def _stacked(mean: Mean | None, digits: int) -> Text:
    if mean is None:
        return Text("-", "dim")
    value = f"{mean.mean:.{digits}f}"
    if mean.count < 2:  # a single score says nothing of chance
        return Text(value)
    return Text.assemble(value, "\n", (f"±{(mean.high - mean.low) / 2:.{digits}f}", "dim"))
