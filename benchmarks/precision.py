"""Whether training in bf16 gets as far as training in float32: two runs, step by step in turn.

python -m benchmarks.precision --speech DIR --noise DIR [--version v4] [--steps 500] [--batch 4]
    [--seed 0] [--threads N] [--json PATH] [--figure PATH]

Both networks start from the same weights and see the same mixtures, as `denoise train` would make
them; they differ in nothing but the precision of their training steps. Now and then both are
validated, in float32, on the same mixtures of voices and noises that are in no training batch.
With --json the state is kept beside that file, and the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.markdown import Markdown

from audio_denoising.dsp.spectrum import image, stft
from audio_denoising.errors import UserError
from audio_denoising.mixing.mixtures import make_mixtures
from audio_denoising.models import VERSIONS
from audio_denoising.models.checkpoint import save_checkpoint
from audio_denoising.nn import Schedule
from audio_denoising.training.learner import Learner, build_learner
from audio_denoising.training.material import FolderMaterial
from audio_denoising.training.options import RunPlace, TrainingOptions
from audio_denoising.training.validation import Validation
from benchmarks.engine_layers import gemm_ceilings
from benchmarks.engine_sides import PRECISIONS, set_up
from benchmarks.machine import describe_machine
from benchmarks.markdown import markdown_table
from benchmarks.results_file import write

SIZE = "small"
# The kind of schedule the shipped v4 weights were trained with: at its end the losses of two runs
# can be compared, while at a constant rate they were seen to swing apart by several percent and
# back.
RECIPE: dict[str, Any] = {
    "learning_rate": 4e-4,
    "schedule": "cosine",
    "warmup_steps": 20,
    "clip_norm": 1.0,
}
VERSIONS_OF_RECIPE = tuple(row.name for row in VERSIONS.values() if row.optimiser == "Adam")
VALIDATE_EVERY = 250
SAVE_EVERY = 25
SMOOTH = 20  # steps, for the drawn curves

Results = Mapping[str, Any]


class Comparison:
    """Two learners on the way, and what was measured so far.

    Args:
        settings: "version", "steps", "batch" and "seed".
        state_file: where to keep the state, None for nowhere; continued if it is there.

    Raises:
        UserError: the state kept there is of a comparison with other settings.
    """

    def __init__(self, settings: dict[str, Any], state_file: Path | None) -> None:
        self.settings = settings
        self.state_file = state_file
        self.options = TrainingOptions(
            settings["version"],
            SIZE,
            batch_size=settings["batch"],
            epoch_size=settings["steps"] * settings["batch"],
            seed=settings["seed"],
            **RECIPE,
        )
        self.schedule = Schedule(
            self.options.schedule, settings["steps"], self.options.warmup_steps
        )
        self.learners: dict[str, Learner] = {
            precision: build_learner(
                replace(self.options, precision=precision), torch.device("cpu")
            )
            for precision in PRECISIONS
        }
        self.measured: dict[str, Any] = {
            "validation": [],
            "train_loss": {precision: [] for precision in PRECISIONS},
            "seconds": {precision: [] for precision in PRECISIONS},
        }
        if state_file is not None and state_file.exists():
            self._restore(state_file)

    @property
    def step(self) -> int:
        """How many steps both have taken."""
        return len(self.measured["train_loss"]["fp32"])

    def run(self, speech: Path, noise: Path, console: Console) -> None:
        """Trains to the last step, validating and saving on the way.

        Raises:
            UserError: no usable speech or noise in the folders.
        """
        steps = self.settings["steps"]
        place = RunPlace((speech,), (noise,), out=Path(), workers=0)
        material = FolderMaterial(self.options, place)
        validation = Validation(material.validation())
        for stretches in material.batches(epoch=1, start_batch=self.step):
            clean, noisy = make_mixtures(stretches)
            self._take(image(stft(noisy)).unsqueeze(1), image(stft(clean)).unsqueeze(1))
            if self.step % VALIDATE_EVERY == 0 or self.step == steps:
                learners = self.learners.items()
                row = {name: validation.run(learner) or {} for name, learner in learners}
                self.measured["validation"].append({"step": self.step, **row})
                losses = ", ".join(f"{name} {row[name]['validation_loss']:.5f}" for name in row)
                console.print(f"step {self.step} of {steps}, validation loss: {losses}")
            if self.step % SAVE_EVERY == 0 and self.state_file is not None:
                self._save(self.state_file)

    def _take(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """One step of each, the first one in turn: neither always meets the warmer cache."""
        rate = self.options.learning_rate * self.schedule.factor(self.step)
        order = list(self.learners)
        for name in order if self.step % 2 else reversed(order):
            start = time.perf_counter()
            loss = float(self.learners[name].step(source, target, rate)[0])
            self.measured["seconds"][name].append(time.perf_counter() - start)
            self.measured["train_loss"][name].append(loss)

    def results(self) -> dict[str, Any]:
        """What is worth keeping, as the JSON file has it; ratios are bf16 over fp32."""
        losses = {p: self.measured["validation"][-1][p]["validation_loss"] for p in PRECISIONS}
        seconds = self.measured["seconds"]
        pairs = zip(seconds["bf16"], seconds["fp32"], strict=True)
        settings = {
            **self.settings,
            **RECIPE,
            "size": SIZE,
            "threads": torch.get_num_threads(),
        }
        return {
            "validation_loss_ratio": losses["bf16"] / losses["fp32"],
            "step_seconds_ratio": median(a / b for a, b in pairs),
            "settings": settings,
            "machine": describe_machine(),
            "gemm_ceiling_gflops": gemm_ceilings(),
            "validation": self.measured["validation"],
            "train_loss": self.measured["train_loss"],
        }

    def _save(self, path: Path) -> None:
        learners = {name: learner.state_dict() for name, learner in self.learners.items()}
        content = {"settings": self.settings, "measured": self.measured, "learners": learners}
        save_checkpoint(path, content)

    def _restore(self, path: Path) -> None:
        content = torch.load(path, weights_only=True)
        if content["settings"] != self.settings:
            raise UserError(f"{path} is of a comparison with other settings: remove it first")
        self.measured = content["measured"]
        for name, learner in self.learners.items():
            learner.load_state_dict(content["learners"][name])


def precision_table(results: Results) -> str:
    """The validations of both runs, as Markdown."""
    columns = ["after step", "validation loss, fp32", "bf16", "ratio"]
    columns += ["SI-SDR gain, dB, fp32", "bf16"]
    rows = []
    for row in results["validation"]:
        losses = [row[precision]["validation_loss"] for precision in PRECISIONS]
        gains = [row[precision]["validation_si_sdr_gain"] for precision in PRECISIONS]
        cells = [f"{row['step']}", *(f"{loss:.5f}" for loss in losses)]
        cells.append(f"{losses[1] / losses[0]:.4f}")
        rows.append([*cells, *(f"{gain:.2f}" for gain in gains)])
    settings, ceiling = results["settings"], results["gemm_ceiling_gflops"]
    units = [name for name, there in results["machine"]["product_units"].items() if there]
    return markdown_table(columns, rows) + (
        f"\n\n{settings['version']}-{settings['size']}, batch {settings['batch']}, learning rate "
        f"{settings['learning_rate']:g} at its peak, {settings['schedule']}. A step in bf16 "
        f"took {results['step_seconds_ratio']:.2f} times as long as one in fp32 on a processor "
        f"with {', '.join(units)}, whose large products reach {ceiling['bf16']:.0f} GFLOP/s in "
        f"bf16 and {ceiling['fp32']:.0f} GFLOP/s in fp32 ({settings['threads']} threads)."
    )


def draw(results: Results, picture: Path) -> None:
    """The losses of both runs in one picture, written whole."""
    figure = Figure(figsize=(7.0, 3.6), dpi=100, layout="constrained")
    axes = figure.subplots()
    for precision, colour in (("fp32", "#30638e"), ("bf16", "#d1495b")):
        losses = torch.tensor(results["train_loss"][precision])
        smooth = losses.unfold(0, SMOOTH, 1).mean(dim=1) if len(losses) >= SMOOTH else losses
        first = len(losses) - len(smooth)
        steps = range(first + 1, len(losses) + 1)
        axes.plot(
            steps, smooth, color=colour, lw=1, label=f"{precision}, training (mean of {SMOOTH})"
        )
        validated = [
            (row["step"], row[precision]["validation_loss"]) for row in results["validation"]
        ]
        axes.plot(
            *zip(*validated, strict=True), "o", color=colour, label=f"{precision}, validation"
        )
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    picture.parent.mkdir(parents=True, exist_ok=True)
    partial = picture.with_name(f".partial-{picture.name}")
    figure.savefig(partial, metadata={"Software": "audio_denoising"})
    partial.replace(picture)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", type=Path, required=True, help="folder of clean speech")
    parser.add_argument("--noise", type=Path, required=True, help="folder of noise")
    parser.add_argument("--version", choices=VERSIONS_OF_RECIPE, default="v4")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="by default as many as torch takes")
    parser.add_argument("--json", type=Path, help="file for everything measured")
    parser.add_argument("--figure", type=Path, help="picture of the losses")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Trains both, prints the table, keeps the curves."""
    given = _parse(arguments)
    set_up(given.threads)
    settings = {name: getattr(given, name) for name in ("version", "steps", "batch", "seed")}
    state_file = given.json and given.json.with_name(f".{given.json.stem}.state.pth")
    try:
        comparison = Comparison(settings, state_file)
        comparison.run(given.speech, given.noise, Console(stderr=True))
    except UserError as error:
        sys.exit(f"{error}")
    results = comparison.results()
    Console().print(Markdown(precision_table(results)))
    if given.figure is not None:
        draw(results, given.figure)
    if given.json is not None:
        write(results, given.json)
        state_file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
