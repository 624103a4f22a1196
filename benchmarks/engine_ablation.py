"""What each trick of the fast convolution is worth: the same work with one trick taken away.

python -m benchmarks.engine --ablation [--size small|large] [--batch N] [--threads N] [--json PATH]

Every experiment compares the code as it ships with the same code (same layer, same batch) without
one trick, in interleaved rounds. docs/fast_convolution.md tells why each trick works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.models import WIDTHS
from audio_denoising.nn import activations, convolution
from audio_denoising.nn.fast import rows as row_lowering
from audio_denoising.nn.fast import winograd
from audio_denoising.nn.fast.tiles import Tile
from audio_denoising.nn.memory import empty, scratch
from audio_denoising.nn.module import Pair, output_size
from benchmarks.measuring import interleaved, markdown_table, middle, ratio, timed, with_spread

Call = Callable[[], object]
Patches = list[AbstractContextManager[Any]]

SHIPPED, WITHOUT = "shipped", "without"
ONE, SAME = (1, 1), (1, 1)  # stride 1; padding that keeps the size under a 3x3 kernel


@dataclass(frozen=True)
class Experiment:
    """One trick on one layer. `without` says what is done instead."""

    trick: str
    layer: str
    without: str
    shipped_call: Call
    without_call: Call


def ablation(size: str, batch: int, rounds: int) -> list[dict[str, Any]]:
    """Runs every experiment; the ratio is the time without the trick over the time with it."""
    rows = []
    for experiment in experiments(WIDTHS[size], batch):
        calls = {SHIPPED: experiment.shipped_call, WITHOUT: experiment.without_call}
        trials = {name: timed("call", call) for name, call in calls.items()}
        with torch.inference_mode():
            series = interleaved(trials, rounds)["call"]
        rows.append(
            {
                "trick": experiment.trick,
                "layer": experiment.layer,
                "without": experiment.without,
                "milliseconds": {name: 1e3 * middle(series[name]) for name in calls},
                "ratio": ratio(series, WITHOUT, SHIPPED),
            }
        )
    return rows


def experiments(widths: tuple[int, ...], batch: int) -> Iterator[Experiment]:
    """All tricks, in the order of the document; each is made only when its turn comes."""
    shallow, deep = (widths[0], 256), (widths[3], 32)
    yield from _whole(shallow, batch)
    yield from _whole(deep, batch)
    yield from _row_lowering(shallow, batch)
    yield from _winograd(deep, batch)
    yield from _element_wise(shallow, batch)


def _whole(layer: tuple[int, int], batch: int) -> Iterator[Experiment]:
    channels, edge = layer
    x, g, w, b = _tensors(layer, batch)
    shipped = convolution.choose(x, w, ONE, SAME)
    yield Experiment(
        "all of them",
        f"conv 3×3, {channels} @ {edge}×{edge}",
        "the readable im2col engine",
        _both_ways(shipped, x, g, w, b),
        _both_ways(convolution, x.contiguous(), g.contiguous(), w.contiguous(), b),
    )


def _row_lowering(layer: tuple[int, int], batch: int) -> Iterator[Experiment]:
    channels, edge = layer
    title = f"conv 3×3, {channels} @ {edge}×{edge}"
    x, g, w, b = _tensors(layer, batch)
    ours = _both_ways(row_lowering, x, g, w, b)
    turned = _both_ways(row_lowering, x.contiguous(), g.contiguous(), w, b)
    yield Experiment(
        "lower along time only",
        f"{title}, forward",
        "nine-fold columns, else with the same care",
        lambda: row_lowering.correlate(x, w, b, ONE, SAME),
        lambda: columns_correlate(x, w, b, SAME),
    )
    yield Experiment("channels last end to end", title, "NCHW between the layers", ours, turned)
    yield Experiment(
        "tile by tile", title, "the whole batch at once", ours, _patched(ours, _batched)
    )
    yield Experiment("buffers used again", title, "fresh tensors", ours, _patched(ours, _fresh))


def _winograd(layer: tuple[int, int], batch: int) -> Iterator[Experiment]:
    channels, edge = layer
    x, g, w, b = _tensors(layer, batch)
    yield Experiment(
        "Winograd for many channels",
        f"conv 3×3, {channels} @ {edge}×{edge}",
        "row lowering",
        _both_ways(winograd, x, g, w, b),
        _both_ways(row_lowering, x, g, w, b),
    )


def _element_wise(layer: tuple[int, int], batch: int) -> Iterator[Experiment]:
    channels, edge = layer
    x, g, _, _ = _tensors(layer, batch)
    activation = nn.LeakyReLU(0.2)

    def call() -> None:
        activation.overwrite(x)
        activation.overwrite_gradient(g)

    def out_of_place() -> None:
        y = torch.where(x > 0, x, 0.2 * x)
        torch.where(y > 0, g, 0.2 * g)

    title = f"LeakyReLU, {channels} @ {edge}×{edge}"
    yield Experiment(
        "in place, in blocks", title, "a fresh tensor for every term", call, out_of_place
    )
    whole = _patched(call, lambda: [patch.object(activations, "BLOCK", x.numel())])
    yield Experiment("in blocks", title, "in place, the whole image at a time", call, whole)


def _tensors(layer: tuple[int, int], batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, dL/dy (both channels last), a 3x3 weight, a bias."""
    channels, edge = layer
    x, g = (
        torch.randn(batch, channels, edge, edge).contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    made = nn.Conv2d(channels, channels, 3)
    assert made.bias is not None
    return x, g, made.weight.data, made.bias.data


def _both_ways(kernels: Any, x: Tensor, g: Tensor, w: Tensor, b: Tensor) -> Call:
    """Forward, then both gradients, as a training step does."""

    def call() -> None:
        kernels.correlate(x, w, b, ONE, SAME)
        kernels.input_gradient(g, w, (x.shape[2], x.shape[3]), ONE, SAME)
        kernels.weight_gradient(x, g, (3, 3), ONE, SAME)

    return call


def _patched(call: Call, patches: Callable[[], Patches]) -> Call:
    """The same call with parts of the engine exchanged while it runs."""

    def changed() -> None:
        with ExitStack() as stack:
            for change in patches():
                stack.enter_context(change)
            call()

    return changed


def _fresh() -> Patches:
    def allocate(shape: tuple[int, ...], like: Tensor, use: str = "") -> Tensor:
        return torch.empty(shape, dtype=like.dtype, device=like.device)

    places = ((row_lowering, "empty"), (row_lowering, "scratch"))
    return [patch.object(module, name, allocate) for module, name in places]


def _batched() -> Patches:
    def one_tile(samples: int, rows: int, *_: object) -> Iterator[Tile]:
        yield slice(0, samples), slice(0, rows)

    return [patch.object(row_lowering, "tiles", one_tile)]


def columns_correlate(x: Tensor, weight: Tensor, bias: Tensor, padding: Pair) -> Tensor:
    """A stride-1 convolution by columns of whole patches, which the engine does not take.

    It keeps every other trick, so that one idea is compared with another and not care with
    carelessness. Shapes as in `row_lowering.correlate`.
    """
    co, ci, kf, kt = weight.shape
    n, _, f, t = x.shape
    (pf, pt), (fo, to) = padding, output_size((f, t), (kf, kt), (1, 1), padding)
    matrix = weight.permute(2, 3, 1, 0).reshape(kf * kt * ci, co)
    y = empty((n, fo * to, co), x)
    padded = x.new_zeros(f + 2 * pf, t + 2 * pt, ci)
    by_f, by_t, by_c = padded.stride()
    patches = padded.as_strided((fo, to, kf, kt, ci), (by_f, by_t, by_f, by_t, by_c))
    for sample, out in zip(x.permute(0, 2, 3, 1), y, strict=True):
        padded[pf : pf + f, pt : pt + t] = sample
        columns = scratch(tuple(patches.shape), x)
        columns.copy_(patches)
        torch.addmm(bias, columns.view(fo * to, -1), matrix, out=out)
    return y.view(n, fo, to, co).permute(0, 3, 1, 2)


def ablation_table(results: Mapping[str, Any]) -> str:
    """What each trick is worth: the time without it over the time with it."""
    columns = ["trick", "layer", "without it", "with, ms", "without, ms", "times slower without"]
    rows = []
    for row in results["ablation"]:
        times = [f"{row['milliseconds'][name]:.2f}" for name in ("shipped", "without")]
        rows.append([row["trick"], row["layer"], row["without"], *times, with_spread(row["ratio"])])
    settings = results["settings"]
    return markdown_table(columns, rows) + (
        f"\n\nBatch {settings['batch']}, {settings['threads']} threads, "
        f"{results['machine']['cpu']}, torch {results['machine']['packages']['torch']}."
    )
