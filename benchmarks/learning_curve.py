"""How v5 comes along: what its checkpoints do against the hours of audio that they have heard.

python -m benchmarks.learning_curve CHECKPOINT... --speech DIR --noise DIR [--json FILE]

They clean the mixtures of `benchmarks.v5_ablation`, of voices and noises that training keeps for
validation. What FILE holds of other checkpoints stays in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audio_denoising.models.checkpoint import load_checkpoint
from audio_denoising.training.learner import build_learner
from audio_denoising.training.material import Material
from audio_denoising.training.options import TrainingOptions
from benchmarks.measuring import describe_machine, markdown_table, report
from benchmarks.v5_ablation import MEASURES, asking_for_corpora, judge, place


def judged(path: Path, material: Material) -> dict[str, Any]:
    """How a checkpoint came to be, and its mean scores."""
    content = load_checkpoint(path).content
    learner = build_learner(TrainingOptions("v5"), torch.device("cpu"))
    learner.model.load_state_dict({name: x.float() for name, x in content["model"].items()})
    return {
        "hours": round(content["position"]["heard"] / 3600, 1),
        "rate": "falls" if content["options"]["schedule"] == "linear-end" else "constant",
        "perceptual": content["options"].get("perceptual", 0.0),
        "scores": np.mean(judge(learner, material), axis=0).tolist(),
    }


def curve_table(results: Mapping[str, Any]) -> str:
    """The committed scores as Markdown."""
    rows = []
    for row in results["checkpoints"]:
        scores = zip(row["scores"], MEASURES.values(), strict=True)
        shown = [f"{score:.{digits}f}" for score, digits in scores]
        rows.append([f"{row['hours']:.1f}", row["rate"], f"{row['perceptual']:g}", *shown])
    return markdown_table(["hours heard", "learning rate", "perceptual term", *MEASURES], rows)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = asking_for_corpora(__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    given = parser.parse_args(arguments)
    material = Material(TrainingOptions("v5", seed=1), place(given))
    found = [judged(path, material) for path in given.checkpoints]
    if given.json and given.json.exists():
        found = [*json.loads(given.json.read_text(encoding="utf-8"))["checkpoints"], *found]
    rows = {(row["hours"], row["rate"]): row for row in found}
    results = {"machine": describe_machine(), "checkpoints": [rows[key] for key in sorted(rows)]}
    report(results, given.json, curve_table(results))


if __name__ == "__main__":
    main()
