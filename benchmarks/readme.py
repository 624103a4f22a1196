"""Writes the measured tables of the documents from the committed results, so no digit is typed.

python -m benchmarks.readme            fills every marked block of the documents below
python -m benchmarks.readme --check    changes nothing; fails if a block is out of date

A block stands between ``<!-- measured: NAME -->`` (or ``NAME in Korean``) and ``<!-- end -->``. Its
source is a file of benchmarks/results/ or the histories shipped beside the weights; where that is
missing, the block says so.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from audio_denoising.dsp.constants import SAMPLE_RATE, SEGMENT
from benchmarks.engine import engine_table
from benchmarks.engine_ablation import ablation_table
from benchmarks.engine_v5 import table as engine_v5_table
from benchmarks.faults import faults_table
from benchmarks.fuzz import fuzz_table
from benchmarks.inference import inference_table
from benchmarks.korean import in_korean
from benchmarks.learning_curve import curve_table
from benchmarks.levels import level_table
from benchmarks.measuring import markdown_table
from benchmarks.page import page_sentence
from benchmarks.quality_tables import (
    beside_v4_table,
    clean_table,
    levels_table,
    noise_table,
    quality_table,
    second_table,
    unseen_table,
    voices_table,
)
from benchmarks.rumble import rumble_table
from benchmarks.scaling import scaling_table
from benchmarks.thrift import thrift_table
from benchmarks.v5_ablation import v5_ablation_table
from benchmarks.voices import kinds_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("benchmarks/results")
HISTORIES = Path("src/audio_denoising/weights")
DOCUMENTS = (
    "README.md",
    "README.ko.md",
    "MODEL_CARD.md",
    "docs/fast_convolution.md",
    "docs/training.md",
    "src/audio_denoising/weights/figures.md",
)

_BLOCK = re.compile(r"(<!-- measured: ([\w-]+)( in Korean)? -->\n).*?(<!-- end -->)", re.DOTALL)


def training_table(histories: Mapping[str, Mapping[str, Any]]) -> str:
    """How the shipped weights came about, as Markdown.

    Args:
        histories: model name -> the content of its ``history.json``. The last epoch's weights
            ship; its figures are shown.
    """
    columns = ["weights", "optimiser steps", "audio heard, h", "hours", "train loss"]
    columns += ["validation loss", "validation SI-SDR, dB", "gain, dB"]
    rows = []
    for name, history in histories.items():
        runs = [run for run in (*history.get("earlier", []), history) if run["epochs"]]
        seconds = sum(row["train_seconds"] for run in runs for row in run["epochs"])
        steps = [run["epochs"][-1]["step"] for run in runs]
        shipped = history["epochs"][-1]
        heard = shipped.get("hours") or sum(
            step * run["options"]["batch_size"] * SEGMENT / SAMPLE_RATE / 3600
            for step, run in zip(steps, runs, strict=True)
        )
        rows.append(
            [
                name,
                f"{sum(steps)}",
                f"{heard:.1f}",
                f"{seconds / 3600:.1f}",
                f"{shipped['train_loss']:.4f}",
                f"{shipped['validation_loss']:.4f}",
                f"{shipped['validation_si_sdr']:.1f}",
                f"{shipped['validation_si_sdr_gain']:.1f}",
            ]
        )
    return markdown_table(columns, rows)


def learning_table(history: Mapping[str, Any]) -> str:
    """What the shipped weights had heard, and how well they did, from validation to validation."""
    columns = {
        "hours of audio heard": ("hours", 1),
        "optimiser steps": ("step", 0),
        "train loss": ("train_loss", 2),
        "validation loss": ("validation_loss", 2),
        "validation SI-SDR, dB": ("validation_si_sdr", 2),
        "gain, dB": ("validation_si_sdr_gain", 2),
    }
    rows = [
        [f"{row[name]:.{digits}f}" for name, digits in columns.values()]
        for row in history["epochs"]
    ]
    return markdown_table(list(columns), rows)


def _one(table: Callable[..., str]) -> Callable[[list[Path]], str]:
    return lambda files: table(json.loads(files[0].read_text(encoding="utf-8")))


def _all(table: Callable[[list[dict[str, Any]]], str]) -> Callable[[list[Path]], str]:
    return lambda files: table([json.loads(path.read_text(encoding="utf-8")) for path in files])


def _histories(files: list[Path]) -> str:
    newest_first = reversed(files)
    return training_table({path.stem: json.loads(path.read_text()) for path in newest_first})


def _verbatim(files: list[Path]) -> str:
    return f"```\n{files[0].read_text(encoding='utf-8').rstrip()}\n```"


SOURCES: dict[str, tuple[Path, Callable[[list[Path]], str]]] = {
    "quality": (RESULTS / "quality.json", _one(quality_table)),
    "quality-levels": (RESULTS / "quality.json", _one(levels_table)),
    "quality-noise": (RESULTS / "quality.json", _one(noise_table)),
    "quality-unseen": (RESULTS / "quality.json", _one(unseen_table)),
    "quality-v5": (RESULTS / "quality_v5.json", _one(quality_table)),
    "quality-levels-v5": (RESULTS / "quality_v5.json", _one(levels_table)),
    "quality-noise-v5": (RESULTS / "quality_v5.json", _one(noise_table)),
    "quality-unseen-v5": (RESULTS / "quality_v5.json", _one(unseen_table)),
    "quality-voices": (RESULTS / "quality_v5.json", _one(voices_table)),
    "beside-v4": (RESULTS / "quality_v5.json", _one(beside_v4_table)),
    "clean-speech-v5": (RESULTS / "quality_v5.json", _one(clean_table)),
    "levels": (RESULTS / "levels.json", _one(level_table)),
    "rumble": (RESULTS / "rumble.json", _one(rumble_table)),
    "voices": (RESULTS / "voices.json", _one(kinds_table)),
    "quality-second": (RESULTS / "quality_v5.json", _one(second_table)),
    "clean-speech": (RESULTS / "quality.json", _one(clean_table)),
    "sample-output": (RESULTS / "sample_output.txt", _verbatim),
    "training": (HISTORIES / "*.json", _histories),
    "learning-v5": (HISTORIES / "v5-base.json", _one(learning_table)),
    "learning-curve": (RESULTS / "learning_curve.json", _one(curve_table)),
    "engine": (RESULTS / "engine_*.json", _all(engine_table)),
    "engine-v5": (RESULTS / "v5_engine.json", _one(engine_v5_table)),
    "inference": (RESULTS / "inference.json", _one(inference_table)),
    "page": (RESULTS / "page.json", _one(page_sentence)),
    "scaling": (RESULTS / "scaling.json", _one(scaling_table)),
    "thrift": (RESULTS / "thrift.json", _one(thrift_table)),
    "perceptual": (RESULTS / "perceptual.json", _one(v5_ablation_table)),
    "loss": (RESULTS / "loss.json", _one(v5_ablation_table)),
    "look-ahead": (RESULTS / "look_ahead.json", _one(v5_ablation_table)),
    "faults": (RESULTS / "faults.json", _one(faults_table)),
    "fuzz": (RESULTS / "fuzz.json", _one(fuzz_table)),
    "ablation-small": (RESULTS / "ablation_small.json", _one(ablation_table)),
    "ablation-large": (RESULTS / "ablation_large.json", _one(ablation_table)),
}
"""Block name -> (files below the repository's root, what turns them into Markdown)."""


def fill(text: str, root: Path = ROOT) -> str:
    """Returns the document with every marked block written anew from the files below ``root``.

    Raises KeyError for a block whose name is not in `SOURCES`.
    """

    def block(match: re.Match[str]) -> str:
        source, render = SOURCES[match[2]]
        files = sorted(root.glob(str(source)))
        body = render(files) if files else "*Not measured yet.*"
        return f"{match[1]}\n{in_korean(body) if match[3] else body}\n\n{match[4]}"

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
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(filled, encoding="utf-8")
    if check and stale:
        sys.exit(f"Out of date: {', '.join(stale)}; run python -m benchmarks.readme.")
    print(f"{'Written' if stale else 'Up to date'}: {', '.join(stale or DOCUMENTS)}.")


if __name__ == "__main__":
    main()
