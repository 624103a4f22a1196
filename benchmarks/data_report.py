"""The results of the data benchmark as Markdown, for the documents and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median, quantiles
from typing import Any

from benchmarks.measuring import markdown_table

TITLES = {
    "plain": "plain: both files decoded whole, STFT item by item",
    "cold": "ours, decoding from the recordings",
    "cached": "ours, from the cache of `denoise data prepare`",
    "shards": "ours, from the shards of `denoise data shard`",
}
STEP = "step"


def data_table(results: Mapping[str, Any]) -> str:
    """Items per second of every way with every number of workers: median (and quartiles)."""
    rates = results["items_per_second"]
    workers = results["settings"]["workers"]
    rows = [
        [title, *(_spread(rates[f"{name} {count}"]) for count in workers)]
        for name, title in TITLES.items()
    ]
    consumed = f"what a v4-small training step consumes: {_spread(rates[STEP])}"
    rows.append([consumed, *("" for _ in workers)])
    columns = ["items per second (quartiles)", *(f"{count} workers" for count in workers)]
    return markdown_table([name.replace("1 workers", "1 worker") for name in columns], rows)


def ratio_table(results: Mapping[str, Any]) -> str:
    """The headline ratios with their quartiles."""
    rows = []
    for name, found in results["ratios"].items():
        low, high = found["quartiles"]
        over, under = found["to"], found["of"]
        rows.append([name, f"{over} / {under}", f"{found['median']:.1f}", f"{low:.1f}-{high:.1f}"])
    return markdown_table(["ratio", "of rates (way, workers)", "median", "quartiles"], rows)


def _spread(rates: list[float]) -> str:
    low, _, high = quantiles(rates, n=4, method="inclusive") if rates[1:] else rates * 3
    return f"{median(rates):.0f} ({low:.0f}-{high:.0f})"
