"""One training step, of our engine and of the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from audio_denoising.training.learner import Learner, build_learner
from tests.training.runs import differences, options, quickly

CPU = torch.device("cpu")
Batch = tuple[Tensor, Tensor]


@pytest.fixture
def narrow() -> Iterator[None]:
    """Narrow networks, where a test is about steps, not about layers."""
    with quickly(narrow=True):
        yield


@pytest.fixture(scope="module")
def five() -> Batch:
    """Noisy and clean images (5, 1, 64, 64)."""
    clean = torch.rand((5, 1, 64, 64), generator=torch.Generator().manual_seed(1))
    return (clean + 0.1).clamp(max=1), clean


def state(learner: Learner) -> dict[str, Tensor]:
    """A copy that later steps leave alone."""
    return {name: value.clone() for name, value in learner.model.state_dict().items()}


@pytest.mark.parametrize("version", ["v4", "torch"])
def test_the_rate_of_a_step_is_the_one_it_is_given(version: str, five: Batch) -> None:
    learner = build_learner(options(version), CPU)
    before = state(learner)
    learner.step(*five, 0.0)
    learner.predict(five[0])  # which changes nothing either
    assert differences(state(learner), before) == []
    learner.step(*five, 1e-3)
    moved = max(float((value - before[name]).abs().max()) for name, value in state(learner).items())
    assert 0.5e-3 < moved < 2e-3  # a step of Adam is about as long as its rate


@pytest.mark.parametrize("version", ["v2", "v4", "torch"])
@pytest.mark.parametrize("spoilt", ["noisy", "clean"])
def test_a_step_that_is_not_a_number_changes_nothing(
    version: str, spoilt: str, five: Batch, narrow: None
) -> None:
    learner = build_learner(options(version), CPU, parts=2)
    learner.step(*five, 1e-3)
    before = state(learner)
    bad = [images.clone() for images in five]
    bad[spoilt == "clean"][4, 0, 7, 7] = torch.nan
    assert not learner.step(*bad, 1e-3).taken
    assert differences(state(learner), before) == []
    assert learner.step(*five, 1e-3).taken
    assert differences(state(learner), before) != []
    assert all(value.isfinite().all() for value in state(learner).values())


@pytest.mark.parametrize(("version", "parts"), [("v4", 2), ("v4", 9), ("v2", 5), ("torch", 5)])
def test_a_batch_in_parts_is_the_same_batch(
    version: str, parts: int, five: Batch, narrow: None
) -> None:
    whole, divided = (build_learner(options(version), CPU, parts=p) for p in (1, parts))
    for _ in range(2):
        a, b = whole.step(*five, 1e-3), divided.step(*five, 1e-3)
        assert float(b.loss) == pytest.approx(float(a.loss), rel=1e-5)
        assert float(b.gradient_norm) == pytest.approx(float(a.gradient_norm), rel=1e-4)
        assert torch.allclose(a.prediction, b.prediction, atol=1e-5)


@pytest.mark.parametrize("version", ["v4", "torch"])
def test_recomputing_changes_nothing(version: str, five: Batch, narrow: None) -> None:
    plain, thrifty = (build_learner(options(version), CPU, recompute=r) for r in (False, True))
    for _ in range(2):
        a: Any = plain.step(*five, 1e-3)._asdict()
        assert differences(a, thrifty.step(*five, 1e-3)._asdict()) == []
    assert differences(state(plain), state(thrifty)) == []
