"""Our engine beside torch.nn: time and memory of the same training on the same batch.

python -m benchmarks.engine [--size small|large] [--batch N] [--threads N] [--rounds N]
    [--json PATH]
python -m benchmarks.engine --ablation ...      what each trick of the fast convolution is worth

One network, one batch of real spectrograms, the same first weights, four ways to train:

    ours                 the from-scratch engine with its fast kernels
    torch_nchw           the torch.nn twin, autograd and fused Adam; torch's default layout (NCHW)
    torch_channels_last  the same twin in the layout that torch recommends on CPUs
    reference            our engine with the readable im2col kernels

They run in turn, in rounds. Of torch.nn's two layouts the faster one counts, and for memory the
leaner one. Memory is the growth of a process of its own: its largest resident set over three steps
less that just before, when torch, the code and the images are loaded.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from audio_denoising import nn
from audio_denoising.dsp.spectrum import SEGMENT, image, stft
from audio_denoising.errors import UserError
from audio_denoising.models import build
from audio_denoising.models.twin import build_twin
from audio_denoising.training.learner import Learner
from audio_denoising.training.options import TrainingOptions
from benchmarks.engine_ablation import ablation, ablation_table
from benchmarks.measuring import (
    Series,
    better,
    describe_machine,
    growth,
    in_fresh_process,
    interleaved,
    markdown_table,
    middle,
    ratio,
    real_mixtures,
    report,
    set_up,
    timed,
    with_spread,
)

OURS, NCHW, CHANNELS_LAST, REFERENCE = "ours", "torch_nchw", "torch_channels_last", "reference"
TITLES = {
    OURS: "ours",
    NCHW: "torch.nn, NCHW",
    CHANNELS_LAST: "torch.nn, channels last",
    REFERENCE: "reference (im2col)",
}
SIDES, TWINS = tuple(TITLES), (NCHW, CHANNELS_LAST)
VERSION = "v4"
LEARNING_RATE = 1e-4
DEFAULT_BATCH = {"small": 16, "large": 4}
DEFAULT_ROUNDS = {"small": 7, "large": 5}
TOLERANCE = 1e-3  # of predicted images, whose range is 0 to 1

Batch = tuple[Tensor, Tensor]


class Scratch:
    """Our engine, through the very learner that training uses.

    `step` is a training step (forward, loss, backward, Adam) and returns the loss; `forward` gives
    the cleaned images (N, 1, 256, 256) and keeps nothing for a backward pass.
    """

    def __init__(self, kernels: str, size: str, batch: Batch, weights: dict[str, Tensor]) -> None:
        options = TrainingOptions(VERSION, size, learning_rate=LEARNING_RATE)
        self.learner = Learner(options, torch.device("cpu"))
        self.learner.model.load_state_dict(weights)
        for module in self.learner.model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.use_kernels(kernels)
        self.noisy, self.clean = batch

    def step(self) -> Tensor:
        return self.learner.step(self.noisy, self.clean, LEARNING_RATE)[0]

    def forward(self) -> Tensor:
        return self.learner.predict(self.noisy)


class Twin:
    """The library at its best: in-place activations, the fused Adam, gradients set to None."""

    def __init__(self, layout: Any, size: str, batch: Batch, weights: dict[str, Tensor]) -> None:
        self.model = build_twin(VERSION, size)
        self.model.load_state_dict(weights)
        self.model.to(memory_format=layout)
        self.criterion = torch.nn.L1Loss()
        self.optimiser = torch.optim.Adam(self.model.parameters(), LEARNING_RATE, fused=True)
        self.noisy, self.clean = (x.contiguous(memory_format=layout) for x in batch)

    def step(self) -> Tensor:
        self.model.train()
        self.optimiser.zero_grad()
        loss = self.criterion(self.model(self.noisy), self.clean)
        loss.backward()
        self.optimiser.step()
        value: Tensor = loss.detach()
        return value

    def forward(self) -> Tensor:
        with torch.inference_mode():
            prediction: Tensor = self.model.eval()(self.noisy)
        return prediction


Side = Scratch | Twin


def make_side(name: str, size: str, batch: Batch, weights: dict[str, Tensor]) -> Side:
    """One of `SIDES`, of a size, on (noisy, clean) images, from weights as of `first_weights`."""
    if name in TWINS:
        layout = torch.channels_last if name == CHANNELS_LAST else torch.contiguous_format
        return Twin(layout, size, batch, weights)
    return Scratch("fast" if name == OURS else "reference", size, batch, weights)


def real_batch(batch: int) -> Batch:
    """(noisy, clean) images (N, 1, 256, 256) of real noisy speech, the same at every call."""
    noisy, clean = (image(stft(waves))[:, None] for waves in real_mixtures(batch, SEGMENT))
    return noisy, clean


def first_weights(size: str) -> dict[str, Tensor]:
    """The weights that every side starts from."""
    torch.manual_seed(0)
    return build(VERSION, size).state_dict()


def memory(size: str, batch: int) -> dict[str, Any]:
    """Growth of every side, and ours over the leaner twin's."""
    threads = torch.get_num_threads()
    mib = {side: in_fresh_process(grown, side, size, batch, threads=threads) for side in SIDES}
    return {
        "memory": {side: {"growth_mib": found} for side, found in mib.items()},
        "peak_memory_ratio": mib[OURS] / min(mib[twin] for twin in TWINS),
    }


def grown(side: str, size: str, batch: int) -> float:
    """MiB by which this process grows."""
    set_up(None)
    images = real_batch(batch)
    return growth(lambda: make_side(side, size, images, first_weights(size)).step)


def rounds(size: str, batch: int, count: int) -> dict[str, Any]:
    """Forward passes, then training steps, of all sides in turn; and their ratios.

    Raises:
        UserError: the sides do not compute the same, so their times cannot be compared.
    """
    images, weights = real_batch(batch), first_weights(size)
    sides = {name: make_side(name, size, images, weights) for name in SIDES}
    expected = sides[NCHW].forward()
    difference = max(float((side.forward() - expected).abs().max()) for side in sides.values())
    if not difference < TOLERANCE:
        raise UserError(f"the sides differ by {difference:.2g} from the same weights: no times")
    seconds: dict[str, Series] = {}
    for phase, call in (("forward", "forward"), ("train_step", "step")):
        trials = {name: timed(phase, getattr(side, call)) for name, side in sides.items()}
        seconds |= interleaved(trials, count, slow=(REFERENCE,))
    ratios = {
        phase: ratio(series, OURS, better(series, TWINS)) for phase, series in seconds.items()
    }
    ratios["reference"] = ratio(seconds["train_step"], REFERENCE, OURS)
    return {"ratios": ratios, "largest_difference": difference, "seconds": seconds}


def engine_table(results: list[dict[str, Any]]) -> str:
    """One row for each file of results: ours against the better layout of the twin.

    Of several processors that measured the same, the one on which ours is slowest comes first.
    """
    columns = ["network", "processor", "training step", "forward", "peak memory"]
    columns.append("reference engine")
    rows = []
    for each in sorted(results, key=_order):
        ratios, settings = each["ratios"], each["settings"]
        rows.append(
            [
                f"v4-{settings['size']}, batch {settings['batch']}, {settings['threads']} threads",
                processor(each["machine"]),
                with_spread(ratios["train_step"]),
                with_spread(ratios["forward"]),
                f"{each['peak_memory_ratio']:.2f}",
                f"{ratios['reference']['median']:.1f} times ours",
            ]
        )
    return markdown_table(columns, rows)


def _order(results: Mapping[str, Any]) -> tuple[bool, int, float]:
    settings = results["settings"]
    step = results["ratios"]["train_step"]["median"]
    return settings["size"] != "small", settings["batch"], -step


def processor(machine: Mapping[str, Any]) -> str:
    """Such as "AMD EPYC (family 25, model 17)": what a machine says of itself, without marks."""
    name = re.sub(r"\((R|TM)\)|\bProcessor\b", "", machine.get("cpu", "unknown"))
    model = machine.get("cpu_model", "")
    return " ".join(name.split()) + (f" ({model})" if model else "")


def sides_table(results: Mapping[str, Any]) -> str:
    """Seconds and memory of every side."""
    columns = ["side", "training step, s", "forward, s", "memory growth, MiB"]
    rows = [
        [
            title,
            *(f"{middle(results['seconds'][p][side]):.3f}" for p in ("train_step", "forward")),
            f"{results['memory'][side]['growth_mib']:.0f}",
        ]
        for side, title in TITLES.items()
    ]
    return markdown_table(columns, rows)


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the tables, keeps every round."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=tuple(DEFAULT_BATCH), default="small")
    parser.add_argument("--batch", type=int, help="images in a step (small 16, large 4)")
    parser.add_argument("--threads", type=int, help="by default as many as torch takes")
    parser.add_argument("--rounds", type=int, help="of the whole network (small 7, large 5)")
    parser.add_argument("--ablation", action="store_true", help="measure the single tricks instead")
    parser.add_argument("--json", type=Path, help="file for everything measured")
    given = parser.parse_args(arguments)
    set_up(given.threads)
    size = given.size
    batch, count = given.batch or DEFAULT_BATCH[size], given.rounds or DEFAULT_ROUNDS[size]
    settings = {"size": size, "batch": batch, "rounds": count, "threads": torch.get_num_threads()}
    results: dict[str, Any] = {"settings": settings, "machine": describe_machine()}
    status = Console(stderr=True).status
    try:
        if given.ablation:
            with status("each trick with and without"):
                results["ablation"] = ablation(size, batch, count)
            report(results, given.json, ablation_table(results))
            return
        with status("memory, each side in a process of its own"):  # first, while this one is small
            results |= memory(size, batch)
        with status("forward passes and training steps, in turn"):
            results |= rounds(size, batch, count)
    except UserError as error:
        sys.exit(f"{error}")
    report(results, given.json, engine_table([results]), sides_table(results))


if __name__ == "__main__":
    main()
