"""Writes the measured tables of the documents from the committed results, so no digit is typed.

python -m benchmarks.tables            fills every marked block of README.md and MODEL_CARD.md
python -m benchmarks.tables --check    changes nothing; fails if a block is out of date

A block stands between ``<!-- measured: NAME -->`` and ``<!-- end -->``. Its source is a file of
benchmarks/results/ or the histories shipped beside the weights; where that is missing, the block
says so.
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("benchmarks/results")
HISTORIES = Path("src/audio_denoising/checkpoints")
DOCUMENTS = ("README.md", "MODEL_CARD.md")

_BLOCK = re.compile(r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_METRICS = {"si_sdr": ("SI-SDR, dB", 1), "pesq_wb": ("PESQ-WB", 2), "stoi": ("STOI", 3)}


def quality_table(results: Mapping[str, Any]) -> str:
    """The results of `benchmarks.quality` as Markdown: a row for each metric and candidate."""
    values: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for mixture in results["mixtures"]:
        for name, scores in mixture["scores"].items():
            for metric, score in scores.items():
                values[metric, name][mixture["snr_db"]].append(score)
    levels = sorted({mixture["snr_db"] for mixture in results["mixtures"]})
    columns = ["metric", "model", *(f"{snr} dB" for snr in levels), "mean"]
    rows = []
    for metric, (title, digits) in _METRICS.items():
        for name in results["mixtures"][0]["scores"]:
            by_level = values[metric, name]
            means = [fmean(by_level[snr]) for snr in levels]
            means.append(fmean(score for snr in levels for score in by_level[snr]))
            rows.append([title, name, *(f"{mean:.{digits}f}" for mean in means)])
    return _markdown(columns, rows)


def clean_table(results: Mapping[str, Any]) -> str:
    """What the models do to speech that was clean already, as Markdown: SI-SDR in dB."""
    names = results["mixtures"][0]["clean_through"]
    rows = []
    for name in names:
        ratios = [mixture["clean_through"][name] for mixture in results["mixtures"]]
        rows.append([name, f"{fmean(ratios):.1f}", f"{min(ratios):.1f}"])
    return _markdown(["model", "mean SI-SDR, dB", "lowest, dB"], rows)


def training_table(histories: Mapping[str, Mapping[str, Any]]) -> str:
    """How the shipped weights came about, as Markdown.

    Args:
        histories: model name -> the content of its ``history.json``. The row described is the
            epoch with the highest validation SI-SDR, whose weights ship.
    """
    columns = ["weights", "optimiser steps", "mixtures seen", "hours", "epoch shipped"]
    columns += ["train loss", "validation loss", "validation SI-SDR, dB", "gain, dB"]
    rows = []
    for name, history in histories.items():
        epochs = history["epochs"]
        best = max(epochs, key=lambda row: row["validation_si_sdr"])
        hours = sum(row["train_seconds"] for row in epochs) / 3600
        rows.append(
            [
                name,
                f"{best['step']}",
                f"{best['step'] * history['options']['batch_size']}",
                f"{hours:.1f}",
                f"{best['epoch']} of {epochs[-1]['epoch']}",
                f"{best['train_loss']:.4f}",
                f"{best['validation_loss']:.4f}",
                f"{best['validation_si_sdr']:.1f}",
                f"{best['validation_si_sdr_gain']:.1f}",
            ]
        )
    return _markdown(columns, rows)


def _markdown(columns: list[str], rows: list[list[str]]) -> str:
    numeric = [all(re.fullmatch(r"-?[\d.]+", row[i]) for row in rows) for i in range(len(columns))]
    rule = ["---:" if right else "---" for right in numeric]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (columns, rule, *rows))


def _quality_source(table: Callable[[Mapping[str, Any]], str]) -> Callable[[Path], str]:
    return lambda path: table(json.loads(path.read_text(encoding="utf-8")))


def _histories(folder: Path) -> str:
    found = {
        path.name.split(".")[0]: json.loads(path.read_text())
        for path in sorted(folder.glob("*.json"))
    }
    return training_table(found)


def _verbatim(path: Path) -> str:
    return f"```\n{path.read_text(encoding='utf-8').rstrip()}\n```"


SOURCES: dict[str, tuple[Path, Callable[[Path], str]]] = {
    "quality": (RESULTS / "quality.json", _quality_source(quality_table)),
    "clean-speech": (RESULTS / "quality.json", _quality_source(clean_table)),
    "sample-output": (RESULTS / "sample_output.txt", _verbatim),
    "training": (HISTORIES, _histories),
}
"""Block name -> (source below the repository's root, what turns it into Markdown)."""


def fill(text: str, root: Path = ROOT) -> str:
    """Returns the document with every marked block written anew from the files below ``root``.

    Raises KeyError for a block whose name is not in `SOURCES`.
    """

    def block(match: re.Match[str]) -> str:
        source, render = SOURCES[match[2]]
        path = root / source
        measured = any(path.glob("*.json")) if path.is_dir() else path.exists()
        body = render(path) if measured else "*Not measured yet.*"
        return f"{match[1]}\n{body}\n\n{match[3]}"

    return _BLOCK.sub(block, text)


def main(arguments: list[str] | None = None) -> None:
    """Fills or checks the documents."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    check = parser.parse_args(arguments).check
    stale = []
    for path in (ROOT / name for name in DOCUMENTS):
        text = path.read_text(encoding="utf-8")
        filled = fill(text)
        if filled != text:
            stale.append(path.name)
            if not check:
                path.write_text(filled, encoding="utf-8")
    if check and stale:
        sys.exit(f"Out of date: {', '.join(stale)}; run python -m benchmarks.tables.")
    print(f"{'Written' if stale else 'Up to date'}: {', '.join(stale or DOCUMENTS)}.")


if __name__ == "__main__":
    main()
