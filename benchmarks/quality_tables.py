"""Turns `denoise evaluate --json` into the tables of the documents.

The version that cleans where nobody asks for another stands first in each of them, and bold.
"""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from audio_denoising.evaluation.frozen_lists import (
    CLEAN,
    HELD_OUT,
    OTHER,
    QUIET,
    ROOM,
    SECOND,
    UNSEEN,
)
from audio_denoising.evaluation.results import NOISY
from audio_denoising.evaluation.scores import METRICS
from audio_denoising.models.versions import DEFAULT
from benchmarks.measuring import markdown_table

_MAIN = ("si_sdr", "pesq_wb", "stoi")
_TITLES = {"pesq_wb": "PESQ-WB"}
_CORPORA = {
    "emodb": "German, acted (EmoDB)",
    "aishell": "Mandarin (AISHELL-1)",
    "speechocean762": "non-native English (speechocean762)",
}

Results = Mapping[str, Any]
Means = Mapping[str, Mapping[str, list[float]]]


def quality_table(results: Results) -> str:
    """All metrics over the held-out mixtures: a row for each candidate, and its speed."""
    return _all_metrics(results, HELD_OUT)


def unseen_table(results: Results) -> str:
    """The same over the mixtures with unseen kinds of noise."""
    return _all_metrics(results, UNSEEN)


def second_table(results: Results) -> str:
    """The main metrics over each part of the second list: a row for each part and candidate."""
    rows = []
    for part in (OTHER, ROOM, QUIET):
        if part not in results["summary"]:
            return "*Not measured yet.*"
        means = results["summary"][part]["all"]
        for name in _ordered(means):
            rows.append([part, *_row(name, (_number(means, name, m) for m in _MAIN))])
    return markdown_table(["part", "model", *map(_title, _MAIN)], rows)


def beside_v4_table(results: Results) -> str:
    """v4 and the default on every list, the better of the two bold."""
    metrics, names = ("pesq_wb", "stoi", "si_sdr", "ovrl"), ("v4", DEFAULT)
    rows = []
    for part in (HELD_OUT, UNSEEN, OTHER, ROOM, QUIET, CLEAN):
        means, row = results["summary"][part]["all"], [part]
        for metric in metrics:
            cells = [_number(means, name, metric) for name in names]
            best = max(cells, key=float)
            row += [f"**{cell}**" if cell == best else cell for cell in cells]
        rows.append(row)
    columns = [f"{_title(metric)}: {name}" for metric in metrics for name in names]
    return markdown_table(["part", *columns], rows)


def levels_table(results: Results) -> str:
    """The main metrics of the held-out mixtures at each level, the mean with its interval."""
    summary = results["summary"][HELD_OUT]
    levels = list(summary["by_snr"])
    rows = []
    for metric in _MAIN:
        for name in _ordered(summary["all"]):
            cells = [_number(summary["by_snr"][level], name, metric) for level in levels]
            _, low, high = summary["all"][name][metric]
            digits = METRICS[metric].digits
            mean = _number(summary["all"], name, metric)
            interval = f"{low:.{digits}f} to {high:.{digits}f}"
            rows.append([_title(metric), *_row(name, (*cells, mean, interval))])
    columns = ["metric", "model", *(f"{level} dB" for level in levels), "mean", "95 % interval"]
    return markdown_table(columns, rows)


def noise_table(results: Results) -> str:
    """SI-SDR by kind of noise: a row for each kind of the parts that have enough of each."""
    names = _ordered(results["summary"][HELD_OUT]["all"])
    rows = []
    for part in (HELD_OUT, UNSEEN, OTHER):
        found = results["summary"].get(part, {"by_noise": {}})["by_noise"]
        for kind, means in found.items():
            rows.append([part, kind, *(_number(means, name, "si_sdr") for name in names)])
    return markdown_table(["part", "noise", *names], rows)


def voices_table(results: Results) -> str:
    """SI-SDR and PESQ on the second list's mixtures without a room, by the kind of voice."""
    corpora = {row.sha256: row.speaker.split("/")[0] for row in SECOND.rows()}
    items = [item for item in results["items"] if item["part"] == OTHER]
    names = _ordered(items[0]["scores"])
    rows = []
    for metric in ("si_sdr", "pesq_wb"):
        column = results["metrics"].index(metric)
        for corpus, voices in _CORPORA.items():
            same = [item["scores"] for item in items if corpora[item["sha256"]] == corpus]
            means = [fmean(scores[name][column] for scores in same) for name in names]
            cells = [f"{mean:.{METRICS[metric].digits}f}" for mean in means]
            rows.append([_title(metric), voices, str(len(same)), *cells])
    return markdown_table(["metric", "voices", "mixtures", *names], rows)


def clean_table(results: Results) -> str:
    """What the candidates do to speech that was clean already."""
    means = results["summary"][CLEAN]["all"]
    ratio = results["metrics"].index("si_sdr")
    rows = []
    for name in _ordered(means):
        ratios = [item["scores"][name][ratio] for item in results["items"] if item["part"] == CLEAN]
        scores = [_number(means, name, metric) for metric in _MAIN]
        rows.append(_row(name, (*scores, f"{min(ratios):.1f}")))
    return markdown_table(["model", *map(_title, _MAIN), "lowest SI-SDR, dB"], rows)


def _all_metrics(results: Results, part: str) -> str:
    means: Means = results["summary"][part]["all"]
    rows = []
    for name in _ordered(means):
        factor = results["real_time_factor"].get(name)
        speed = "" if factor is None else f"{factor:.3f}"
        rows.append(_row(name, (*(_number(means, name, metric) for metric in METRICS), speed)))
    return markdown_table(["model", *map(_title, METRICS), "RTF"], rows)


def _ordered(names: Iterable[str]) -> list[str]:
    """The noisy input, the default, and the others as they come."""
    return sorted(names, key=lambda name: (name != NOISY, name != DEFAULT))


def _row(name: str, cells: Iterable[str]) -> list[str]:
    row = [name, *cells]
    return [f"**{cell}**" if cell else "" for cell in row] if name == DEFAULT else row


def _number(means: Means, name: str, metric: str) -> str:
    found = means[name].get(metric)
    return "" if found is None else f"{found[0]:.{METRICS[metric].digits}f}"


def _title(metric: str) -> str:
    return _TITLES.get(metric, METRICS[metric].title.replace(" dB", ", dB"))
