"""Keeps an evaluation as JSON: every single score, the means, and on what it was measured."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audio_denoising.evaluation.candidates import Candidate
from audio_denoising.evaluation.peers import PEERS
from audio_denoising.evaluation.runner import Result
from audio_denoising.evaluation.scores import METRICS, PACKAGES
from audio_denoising.evaluation.summary import Means, PartSummary, real_time_factors
from audio_denoising.machine import cpu_field, versions
from audio_denoising.whole_file import save_whole

_VERSIONS = ("audio-denoising", "torch", "numpy", "soundfile", "soxr", *PACKAGES)


def content(
    results: Sequence[Result],
    summaries: Sequence[PartSummary],
    candidates: Sequence[Candidate],
    *,
    jobs: int,
) -> dict[str, Any]:
    """All that is kept.

    Everything but ``machine`` and ``real_time_factor`` is the same from run to run. A score that
    is not defined is null; means are ``[mean, low, high]`` with the bounds of their 95 % interval.
    """
    return {
        "machine": _machine(jobs),
        "packages": _versions(candidates),
        "weights": {each.title: each.digest() for each in candidates if not each.is_peer},
        "metrics": list(METRICS),
        "real_time_factor": {
            name: round(factor, 4) for name, factor in real_time_factors(results).items()
        },
        "summary": {
            summary.part: {
                "count": summary.count,
                "all": _means(summary.overall),
                "by_snr": {f"{level:g}": _means(m) for level, m in summary.by_snr.items()},
                "by_noise": {name: _means(m) for name, m in summary.by_noise.items()},
            }
            for summary in summaries
        },
        "items": [
            {
                "part": result.part,
                "name": result.name,
                "noise": result.noise_class,
                "snr_db": result.snr_db,
                "seconds": result.seconds,
                "sha256": result.sha256,
                "scores": {
                    name: [scores.get(metric) for metric in METRICS]
                    for name, scores in result.scores.items()
                },
            }
            for result in results
        ],
    }


def write(everything: dict[str, Any], path: Path) -> None:
    """Writes one item and one group of means a line; the file appears whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    head = {key: value for key, value in everything.items() if key not in ("summary", "items")}
    parts = []
    for part, summary in everything["summary"].items():
        groups = ",\n   ".join(_group_lines(summary))
        parts.append(f"{json.dumps(part)}: {{\n   {groups}}}")
    items = ",\n  ".join(json.dumps(item) for item in everything["items"])
    text = (
        json.dumps(head, indent=1).removesuffix("\n}")
        + ',\n "summary": {\n  '
        + ",\n  ".join(parts)
        + f'\n }},\n "items": [\n  {items}\n ]\n}}\n'
    )
    save_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _group_lines(summary: dict[str, Any]) -> list[str]:
    lines = [f'"count": {summary["count"]}', f'"all": {json.dumps(summary["all"])}']
    for name in ("by_snr", "by_noise"):
        inner = ",\n    ".join(
            f"{json.dumps(key)}: {json.dumps(value)}" for key, value in summary[name].items()
        )
        lines.append(f'"{name}": {{\n    {inner}}}' if inner else f'"{name}": {{}}')
    return lines


def _means(means: Means) -> dict[str, dict[str, list[float]]]:
    return {
        name: {
            metric: [round(value, 4) for value in (mean.mean, mean.low, mean.high)]
            for metric, mean in found.items()
        }
        for name, found in means.items()
    }


def _machine(jobs: int) -> dict[str, Any]:
    return {
        "cpu": cpu_field("model name") or platform.processor() or platform.machine(),
        "processes": jobs,
        "threads_each": 1,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _versions(candidates: Sequence[Candidate]) -> dict[str, str | None]:
    peers = [PEERS[each.source].package for each in candidates if each.is_peer]
    return versions((*_VERSIONS, *peers))
