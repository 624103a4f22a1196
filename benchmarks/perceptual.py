"""What the perceptual term of v5's loss is worth at equal audio.

python -m benchmarks.perceptual STATE --speech DIR --noise DIR [--rooms DIR] [--cache DIR]
    [--weights 0 1] [--steps 150] [--json FILE]

From the same state of a run at constant rate (its `last.pth`), with the same mixtures in the same
order, the rate falls to zero in a straight line, once for each weight of the term. Then the moments
of the normalisations are taken anew, and 40 mixtures of 4 s of the validation's voices and noises,
at 2.5 to 17.5 dB, are judged. A difference is taken mixture by mixture; its error is the standard
error of their mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audio_denoising.dsp.frames import HOP
from audio_denoising.dsp.measures import si_sdr
from audio_denoising.evaluation.metrics import dnsmos, pesq_wb, stoi
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.recipe import Recipe
from audio_denoising.models.checkpoint import load_checkpoint
from audio_denoising.nn import take_statistics
from audio_denoising.training.learner import Learner, build_learner
from audio_denoising.training.material import Material
from audio_denoising.training.options import RunPlace, TrainingOptions
from audio_denoising.training.resume import completed
from benchmarks.measuring import describe_machine, markdown_table, report

MEASURES = {"PESQ-WB": 3, "STOI": 4, "SI-SDR, dB": 2, "DNSMOS": 3}  # and the digits to show
STATISTICS = 16  # batches
JUDGED = replace(
    Recipe(), clean_only=0.0, noise_only=0.0, level=(-30.0, -25.0), snr=(2.5, 17.5),
    clipping=0.0, low_pass=0.0, room=0.0, speed=0.0, knock=0.0,
)  # fmt: skip


def ablate(
    state: Path, place: RunPlace, weights: list[float], steps: int
) -> dict[str, list[list[float]]]:
    """Weight of the term -> the measures of every mixture."""
    content = load_checkpoint(state).content
    options = TrainingOptions(**completed(content["options"], "v5"))
    material = Material(options, place)
    learners = {}
    for weight in weights:
        learner = build_learner(replace(options, perceptual=weight), torch.device("cpu"))
        learner.load_state_dict(content)
        learner.model.load_state_dict(content["unaveraged_model"])
        learners[weight] = learner
    first = content["position"]["step"]
    for step in range(steps):
        noisy, clean = material.mixer.batch(first + step, 4, 126 * HOP)
        for learner in learners.values():
            heard = learner.representation.hear(noisy)
            learner.step(heard, clean, options.learning_rate * (1 - step / steps))
    for learner in learners.values():
        batches = map(learner.representation.hear, islice(material.statistics(), STATISTICS))
        with torch.inference_mode():
            take_statistics(learner.model, (heard.features for heard in batches))
    return {f"{weight:g}": judge(each, material) for weight, each in learners.items()}


def judge(learner: Learner, material: Material) -> list[list[float]]:
    """The measures of 40 mixtures as the network cleans them."""
    hearing, found = learner.representation, []
    with torch.inference_mode():
        mixer = Mixer(material.judged.speech, material.judged.noise, JUDGED, 4321, None)
        for number in range(4):
            noisy, clean = mixer.batch(number, 10, 249 * HOP)
            cleaned = hearing.sound(learner.predict(hearing.hear(noisy)), noisy)
            for estimate, reference in zip(cleaned.numpy(), clean.numpy(), strict=True):
                inside = slice(HOP, -HOP)
                asked = pesq_wb(estimate, reference), stoi(estimate, reference)
                measured = si_sdr(estimate[inside], reference[inside]), dnsmos(estimate).ovrl
                found.append([*asked, *measured])
    return found


def perceptual_table(results: Mapping[str, Any]) -> str:
    """The results as Markdown: means, and differences to the first weight."""
    found = {weight: np.array(rows) for weight, rows in results["judged"].items()}
    base = next(iter(found.values()))
    rows = []
    for weight, each in found.items():
        row = [f"`--perceptual {weight}`"]
        for number, digits in enumerate(MEASURES.values()):
            apart = (each - base)[:, number]
            error = apart.std(ddof=1) / len(apart) ** 0.5
            difference = f" ({apart.mean():+.{digits}f} ± {error:.{digits}f})" if any(apart) else ""
            row.append(f"{each[:, number].mean():.{digits}f}{difference}")
        rows.append(row)
    return markdown_table(["weight", *MEASURES], rows)


def asking_for_corpora(text: str | None) -> argparse.ArgumentParser:
    """A command line that asks for the folders of a training and for a file of results."""
    parser = argparse.ArgumentParser(description=(text or "").splitlines()[0])
    for name, needed in (("speech", True), ("noise", True), ("rooms", False)):
        parser.add_argument(f"--{name}", type=Path, action="append", required=needed, default=[])
    parser.add_argument("--cache", type=Path, help="where the decoded recordings are kept")
    parser.add_argument("--json", type=Path, help="where to write the results")
    return parser


def place(given: argparse.Namespace) -> RunPlace:
    """These folders."""
    return RunPlace(given.speech, given.noise, Path(), rooms=given.rooms, cache=given.cache)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = asking_for_corpora(__doc__)
    parser.add_argument("state", type=Path, help="last.pth of a run at constant rate")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--steps", type=int, default=150)
    given = parser.parse_args(arguments)
    torch.set_flush_denormal(True)
    judged = ablate(given.state, place(given), given.weights, given.steps)
    results = {"machine": describe_machine(), "steps": given.steps, "judged": judged}
    report(results, given.json, perceptual_table(results))


if __name__ == "__main__":
    main()
