"""Validation measures what it says, on the same mixtures every time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audio_denoising.dsp.spectrum import DecibelImage
from audio_denoising.training.material import Material
from audio_denoising.training.options import RunPlace
from audio_denoising.training.validation import Validation
from tests.training.runs import NOISE, SPEECH, options, quickly


class Fixed:
    """A learner whose network is a function; its loss is the L1 loss."""

    device = torch.device("cpu")
    model: Any = None

    def __init__(self, predict: Any) -> None:
        self.predict = predict
        self.representation = DecibelImage(lambda image, clean: (image - clean).abs().mean())


def mixtures(epoch_size: int = 4) -> list[tuple[Tensor, Tensor]]:
    place = RunPlace([SPEECH], [NOISE], Path("out"))
    return list(Material(options(epoch_size=epoch_size), place).validation())


def run(predict: Any, batch_size: int = 2) -> dict[str, float]:
    with quickly(narrow=False):
        ((noisy, clean),) = mixtures()
        learner: Any = Fixed(predict)
        parts = zip(noisy.split(batch_size), clean.split(batch_size), strict=True)
        return Validation(parts).run(learner) or {}


def test_a_network_that_changes_nothing_gains_nothing() -> None:
    figures = run(lambda image: image)
    assert figures["validation_si_sdr_gain"] == pytest.approx(0, abs=0.01)
    assert 0 < figures["validation_si_sdr"] < 15  # mixtures are at 0 to 15 dB
    assert figures["validation_loss"] > 0


def test_the_figures_do_not_depend_on_the_batch_size() -> None:
    def half(image: Tensor) -> Tensor:
        return image / 2

    a, b = run(half, batch_size=1), run(half, batch_size=3)  # of four mixtures: 3 and 1
    assert a.keys() == b.keys()
    assert all(a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-4) for name in a)


def test_a_network_that_silences_everything_is_not_a_perfect_one() -> None:
    figures = run(torch.zeros_like)
    assert all(math.isfinite(value) for value in figures.values())
    assert figures["validation_si_sdr"] < run(lambda image: image)["validation_si_sdr"] + 0.5


def test_a_short_epoch_is_judged_on_few_mixtures() -> None:
    counts = {size: sum(len(noisy) for noisy, _ in mixtures(size)) for size in (1, 8, 40, 999)}
    assert counts == {1: 8, 8: 8, 40: 40, 999: 160}
    for short, long in zip(mixtures(40)[-1], mixtures(999)[2], strict=True):
        assert torch.equal(short, long[: len(short)])  # the first ones of the same list
