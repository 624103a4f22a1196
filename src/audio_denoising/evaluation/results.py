"""What an evaluation found: every single score, their means, and the JSON file that keeps them."""

from __future__ import annotations

import json
import platform
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from audio_denoising.errors import UserError
from audio_denoising.evaluation.peers import PEERS
from audio_denoising.evaluation.scores import METRICS, PACKAGES, Scores
from audio_denoising.evaluation.testset import Item
from audio_denoising.files import save_whole
from audio_denoising.machine import cpu_field, versions

NOISY = "noisy input"
RESAMPLES = 2000
_VERSIONS = ("audio-denoising", "torch", "numpy", "soundfile", "soxr", *PACKAGES)
_OTHER_RECORDINGS = (
    "the scores to be updated are of other recordings than these: judge on the same ones, or leave "
    "--update away"
)


@dataclass(frozen=True)
class Result:
    """A recording with the scores of every candidate; those of clean speech have no noisy input.

    ``noise`` is "" and ``snr_db`` None where they are not known; ``seconds`` is the length, and
    ``sha256`` the digest of the noisy samples.
    """

    part: str
    name: str
    noise: str
    snr_db: float | None
    seconds: float
    sha256: str
    scores: dict[str, Scores]


@dataclass(frozen=True)
class Evaluation:
    """All results, one for every recording, and how they came about."""

    results: list[Result]
    real_time_factor: dict[str, float]  # seconds of work for a second of audio, on one thread
    weights: dict[str, str]  # their digests; peers have none
    runs: list[dict[str, Any]]  # who was judged when, on what machine, with what packages

    @property
    def names(self) -> list[str]:
        """All candidates: the noisy input, networks, peers."""
        names = dict.fromkeys(name for result in self.results for name in result.scores)
        return sorted(names, key=lambda name: (name != NOISY, name in PEERS))

    def require_names(self, items: Sequence[Item]) -> None:
        """Tells before the work is done what `updated` would tell after it: UserError."""
        if [(item.part, item.name) for item in items] != [(r.part, r.name) for r in self.results]:
            raise UserError(_OTHER_RECORDINGS)

    def updated(self, newer: Evaluation) -> Evaluation:
        """This evaluation with the candidates of a newer one added, or put in their place.

        Raises:
            UserError: the newer one is of other recordings.
        """
        ours, theirs = ([(r.part, r.name, r.sha256) for r in e.results] for e in (self, newer))
        if ours != theirs:
            raise UserError(_OTHER_RECORDINGS)
        results = [
            replace(new, scores=old.scores | new.scores)
            for old, new in zip(self.results, newer.results, strict=True)
        ]
        kept = [
            {**run, "judged": [name for name in run["judged"] if name not in newer.names]}
            for run in self.runs
        ]
        return Evaluation(
            results,
            self.real_time_factor | newer.real_time_factor,
            self.weights | newer.weights,
            [run for run in kept if run["judged"]] + newer.runs,
        )


def this_run(judged: Sequence[str], jobs: int) -> dict[str, Any]:
    """An entry of `Evaluation.runs` for what has just been judged here."""
    peers = [PEERS[name].package for name in judged if name in PEERS]
    return {
        "judged": list(judged),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": {
            "cpu": cpu_field("model name") or platform.processor() or platform.machine(),
            "processes": jobs,
            "threads_each": 1,
            "system": platform.system(),
            "python": platform.python_version(),
        },
        "packages": versions((*_VERSIONS, *peers)),
    }


Means = dict[str, dict[str, list[float]]]
"""candidate -> metric -> mean and the bounds of its 95 % interval, see `bootstrap_mean`."""


def summarise(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """For every part its "count", and the means of "all" of it, "by_snr" and "by_noise"."""
    names = evaluation.names

    def by(found: Sequence[Result], key: str) -> dict[Any, Means]:
        return {k: means(r, names) for k, r in sorted(_grouped(found, key).items())}

    return {
        part: {
            "count": len(found),
            "all": means(found, names),
            "by_snr": {f"{level:g}": each for level, each in by(found, "snr_db").items()},
            "by_noise": by(found, "noise"),
        }
        for part, found in _grouped(evaluation.results, "part").items()
    }


def means(results: Sequence[Result], names: Sequence[str]) -> Means:
    """Mean and interval of every metric that is defined anywhere, for every candidate."""
    table: Means = {}
    for name in names:
        scores = [result.scores[name] for result in results if name in result.scores]
        defined = {m: [s[m] for s in scores if s.get(m) is not None] for m in METRICS}
        if scores:
            table[name] = {m: bootstrap_mean(values) for m, values in defined.items() if values}
    return table


def bootstrap_mean(scores: Sequence[float | None]) -> list[float]:
    """The mean with its percentile bootstrap interval: ``[mean, low, high]``, to four digits.

    The interval holds the middle 95 % of the means of 2000 samples drawn from the scores with
    replacement (Efron and Tibshirani, 1993, ch. 13), always by the same random numbers: the same
    scores give the same interval.
    """
    values = np.asarray(scores, np.float64)
    drawn = np.random.default_rng(0).integers(values.size, size=(RESAMPLES, values.size))
    low, high = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))
    return [round(float(value), 4) for value in (values.mean(), low, high)]


def _grouped(results: Sequence[Result], key: str) -> dict[Any, list[Result]]:
    """The results by one of their facts, where it is known."""
    groups = defaultdict(list)
    for result in results:
        if getattr(result, key) not in (None, ""):
            groups[getattr(result, key)].append(result)
    return groups


def write(evaluation: Evaluation, path: Path) -> None:
    """Writes an evaluation with its means; the file appears whole or not at all.

    Everything but ``runs`` and ``real_time_factor`` is the same from run to run. A score that is
    not defined is null.

    Raises:
        UserError: the file cannot be written.
    """
    factors = evaluation.real_time_factor
    content = {
        "runs": evaluation.runs,
        "weights": evaluation.weights,
        "metrics": list(METRICS),
        "real_time_factor": {n: round(factors[n], 4) for n in evaluation.names if n in factors},
        "summary": summarise(evaluation),
        "items": [
            asdict(result)
            | {
                "scores": {
                    name: [result.scores[name].get(metric) for metric in METRICS]
                    for name in evaluation.names
                    if name in result.scores
                }
            }
            for result in evaluation.results
        ],
    }
    write_json(content, path)


def read(path: Path) -> Evaluation:
    """Reads what `write` wrote.

    Raises:
        UserError: the file cannot be read, or is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        metrics = content["metrics"]
        results = [
            Result(**item | {"scores": {
                name: dict(zip(metrics, values, strict=True))
                for name, values in item["scores"].items()
            }})
            for item in content["items"]
        ]  # fmt: skip
        rest = (content[name] for name in ("real_time_factor", "weights", "runs"))
        return Evaluation(results, *rest)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is not a file that `denoise evaluate --json` has written: name another"
        ) from error


def write_json(content: dict[str, Any], path: Path) -> None:
    """Writes results as JSON, whole or not at all, for people to read and compare as well.

    What holds nothing but numbers and texts has a line to itself.

    Raises:
        UserError: the file cannot be written.
    """
    text = json.dumps(content, ensure_ascii=False, indent=1)
    innermost = re.compile(r"[\[{][^\[\]{}]*[\]}]")  # no text of JSON holds a line break
    text = innermost.sub(lambda found: re.sub(r"\n\s*", " ", found[0]), text)
    save_whole(path, lambda temporary: temporary.write_text(f"{text}\n", encoding="utf-8"))
