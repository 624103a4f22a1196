"""Turns `denoise evaluate --json` into the tables of the documents."""

from collections.abc import Mapping
from typing import Any

from audio_denoising.evaluation.frozen_lists import CLEAN, HELD_OUT, OTHER, QUIET, ROOM, UNSEEN
from audio_denoising.evaluation.scores import METRICS
from benchmarks.measuring import markdown_table

_MAIN = ("si_sdr", "pesq_wb", "stoi")
_TITLES = {"pesq_wb": "PESQ-WB"}

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
        rows += [[part, name, *(_number(means, name, m) for m in _MAIN)] for name in means]
    return markdown_table(["part", "model", *map(_title, _MAIN)], rows)


def levels_table(results: Results) -> str:
    """The main metrics of the held-out mixtures at each level, the mean with its interval."""
    summary = results["summary"][HELD_OUT]
    levels = list(summary["by_snr"])
    rows = []
    for metric in _MAIN:
        for name in summary["all"]:
            cells = [_number(summary["by_snr"][level], name, metric) for level in levels]
            _, low, high = summary["all"][name][metric]
            digits = METRICS[metric].digits
            mean = _number(summary["all"], name, metric)
            interval = f"{low:.{digits}f} to {high:.{digits}f}"
            rows.append([_title(metric), name, *cells, mean, interval])
    columns = ["metric", "model", *(f"{level} dB" for level in levels), "mean", "95 % interval"]
    return markdown_table(columns, rows)


def noise_table(results: Results) -> str:
    """SI-SDR by kind of noise, held-out and unseen: a row for each kind."""
    rows = []
    for part in (HELD_OUT, UNSEEN):
        for kind, means in results["summary"][part]["by_noise"].items():
            rows.append([part, kind, *(_number(means, name, "si_sdr") for name in means)])
    names = list(results["summary"][HELD_OUT]["all"])
    return markdown_table(["part", "noise", *names], rows)


def clean_table(results: Results) -> str:
    """What the candidates do to speech that was clean already."""
    means = results["summary"][CLEAN]["all"]
    ratio = results["metrics"].index("si_sdr")
    rows = []
    for name in means:
        ratios = [item["scores"][name][ratio] for item in results["items"] if item["part"] == CLEAN]
        scores = [_number(means, name, metric) for metric in _MAIN]
        rows.append([name, *scores, f"{min(ratios):.1f}"])
    return markdown_table(["model", *map(_title, _MAIN), "lowest SI-SDR, dB"], rows)


def _all_metrics(results: Results, part: str) -> str:
    means: Means = results["summary"][part]["all"]
    rows = []
    for name in means:
        factor = results["real_time_factor"].get(name)
        speed = "" if factor is None else f"{factor:.3f}"
        rows.append([name, *(_number(means, name, metric) for metric in METRICS), speed])
    return markdown_table(["model", *map(_title, METRICS), "RTF"], rows)


def _number(means: Means, name: str, metric: str) -> str:
    found = means[name].get(metric)
    return "" if found is None else f"{found[0]:.{METRICS[metric].digits}f}"


def _title(metric: str) -> str:
    return _TITLES.get(metric, METRICS[metric].title.replace(" dB", ", dB"))
