"""What a change of v5 is worth at equal audio: in its loss, its gain, or one frame of look-ahead.

python -m benchmarks.v5_ablation STATE --speech DIR --noise DIR [--rooms DIR] [--cache DIR]
    [--weights 1] [--factors 30] [--gains 2] [--look-ahead] [--steps 150] [--json FILE]

From the same state of a run at constant rate (its `last.pth`), with the same mixtures in the same
order, the rate falls to zero in a straight line, once for each weight of the perceptual term and
factor of the spectral one, and once for a network that is shown the next frame beside every frame,
by weights that begin at zero. Then the moments of the normalisations are taken anew, and 40
mixtures of 4 s of the validation's voices and noises, at 2.5 to 17.5 dB, are judged, cleaned by the
gain M |M|^g for each g. A difference is taken mixture by mixture; its error is the standard error
of their mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from audio_denoising.dsp import compressed_spectrum
from audio_denoising.dsp.compressed_spectrum import CompressedSpectrumLoss, Heard
from audio_denoising.dsp.constants import FEATURES
from audio_denoising.dsp.frames import GAIN, HOP
from audio_denoising.dsp.measures import si_sdr
from audio_denoising.dsp.representation import CompressedSpectrum
from audio_denoising.evaluation.metrics import dnsmos, pesq_wb, stoi
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.recipe import Recipe
from audio_denoising.models import causal
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
    clipping=0.0, low_pass=0.0, room=0.0, speed=0.0, knock=0.0, change=0.0,
)  # fmt: skip


class NextFrame(CompressedSpectrum):
    """Features (T, N, 64, 24): those of a frame, then those of the one after it."""

    def features(self, heard: Heard) -> Tensor:
        now = heard.features
        return torch.cat((now, torch.cat((now[1:], torch.zeros_like(now[:1])))), -1)


def widened(state: Any) -> Any:
    """A state with zeros wherever the first convolution has no weights for a next frame."""
    if isinstance(state, dict):
        return {name: widened(part) for name, part in state.items()}
    if isinstance(state, list):
        return [widened(part) for part in state]
    is_first = isinstance(state, Tensor) and state.shape[1:] == (FEATURES, 3)
    return torch.cat((state, torch.zeros_like(state)), 1) if is_first else state


def ablate(given: argparse.Namespace) -> dict[str, list[list[float]]]:
    """What is tried -> the measures of every mixture."""
    content = load_checkpoint(given.state).content
    options = TrainingOptions(**completed(content["options"], "v5"))
    material, learners = Material(options, place(given)), {}
    for weight, factor in product(given.weights, given.factors):
        learner = build_learner(options, torch.device("cpu"))
        learner.load_state_dict(content)
        learner.model.load_state_dict(content["unaveraged_model"])
        learner.representation = CompressedSpectrum(perceptual=weight)
        learner.representation.criterion.FACTOR = factor
        learners[f"`--perceptual {weight:g}`, {factor:g}"] = learner
    if given.look_ahead:
        with patch.object(causal, "FEATURES", 2 * FEATURES):
            learner = build_learner(options, torch.device("cpu"))
        learner.load_state_dict(widened(content))
        learner.model.load_state_dict(widened(content["unaveraged_model"]))
        learner.representation = NextFrame(perceptual=given.weights[0])
        learner.representation.criterion.FACTOR = given.factors[0]
        learners["the next frame too"] = learner
    for step in range(given.steps):
        noisy, clean = material.mixer.batch(content["position"]["step"] + step, 4, 126 * HOP)
        for learner in learners.values():
            heard = learner.representation.hear(noisy)
            learner.step(heard, clean, options.learning_rate * (1 - step / given.steps))
    for learner in learners.values():
        batches = map(learner.representation.hear, islice(material.statistics(), STATISTICS))
        with torch.inference_mode():
            take_statistics(learner.model, map(learner.representation.features, batches))
    return {
        f"{name}, {gain:.2g}": judge(learner, material, gain)
        for (name, learner), gain in product(learners.items(), given.gains)
    }


def judge(learner: Learner, material: Material, gain: float = GAIN) -> list[list[float]]:
    """The measures of 40 mixtures as the network cleans them."""
    hearing, found = learner.representation, []
    with torch.inference_mode(), patch.object(compressed_spectrum, "GAIN", gain):
        mixer = Mixer(material.judged.speech, material.judged.noise, JUDGED, 4321, None)
        for number in range(4):
            noisy, clean = mixer.batch(number, 10, 249 * HOP)
            cleaned = hearing.sound(learner.predict(hearing.hear(noisy)), noisy)
            for estimate, reference in zip(cleaned.numpy(), clean.numpy(), strict=True):
                inside = slice(HOP, -HOP)
                asked = pesq_wb(estimate, reference), stoi(estimate, reference)
                measured = si_sdr(estimate[inside], reference[inside]), dnsmos(estimate)[2]
                found.append([*asked, *measured])
    return found


def v5_ablation_table(results: Mapping[str, Any]) -> str:
    """The results as Markdown: means, and differences to the first row."""
    found = {name: np.array(rows) for name, rows in results["judged"].items()}
    base = next(iter(found.values()))
    rows = []
    for name, each in found.items():
        row = [name]
        for number, digits in enumerate(MEASURES.values()):
            apart = (each - base)[:, number]
            error = apart.std(ddof=1) / len(apart) ** 0.5
            difference = f" ({apart.mean():+.{digits}f} ± {error:.{digits}f})" if any(apart) else ""
            row.append(f"{each[:, number].mean():.{digits}f}{difference}")
        rows.append(row)
    return markdown_table(["", *MEASURES], rows)


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
    usual = {"weights": 1.0, "factors": CompressedSpectrumLoss.FACTOR, "gains": GAIN}
    for name, value in usual.items():
        parser.add_argument(f"--{name}", type=float, nargs="+", default=[value])
    parser.add_argument("--look-ahead", action="store_true", help="try the next frame as well")
    parser.add_argument("--steps", type=int, default=150)
    given = parser.parse_args(arguments)
    torch.set_flush_denormal(True)
    results = {"machine": describe_machine(), "steps": given.steps, "judged": ablate(given)}
    report(results, given.json, v5_ablation_table(results))


if __name__ == "__main__":
    main()
