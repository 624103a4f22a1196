"""Optimisers, schedules, clipping and averages, step by step against torch in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from audio_denoising import nn
from tests.nn.parity import random_tensor, relative_error

SHAPES = [(4, 3, 3, 3), (4,), (1, 4, 1, 1), (1,)]
STEPS = 20
RATE = 0.05

Ours = Callable[[list[nn.Parameter]], nn.Optimiser]
Theirs = Callable[[list[Tensor]], torch.optim.Optimizer]

PAIRS: dict[str, tuple[Ours, Theirs]] = {
    "SGD": (lambda p: nn.SGD(p, RATE), lambda p: torch.optim.SGD(p, RATE)),
    "SGD momentum": (
        lambda p: nn.SGD(p, RATE, momentum=0.9),
        lambda p: torch.optim.SGD(p, RATE, momentum=0.9),
    ),
    "Adam": (lambda p: nn.Adam(p, RATE), lambda p: torch.optim.Adam(p, RATE)),
    "Adam betas": (
        lambda p: nn.Adam(p, RATE, betas=(0.5, 0.9), epsilon=1e-3),
        lambda p: torch.optim.Adam(p, RATE, betas=(0.5, 0.9), eps=1e-3),
    ),
    "AdamW": (
        lambda p: nn.Adam(p, RATE, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, RATE, weight_decay=0.1),
    ),
    "AdamW, decay on matrices": (
        lambda p: nn.Adam(p, RATE, weight_decay=0.1, decayed=[p[0], p[2]]),
        lambda p: torch.optim.AdamW(
            [{"params": [p[0], p[2]]}, {"params": [p[1], p[3]], "weight_decay": 0.0}],
            RATE,
            weight_decay=0.1,
        ),
    ),
    "AdamW, decay on nothing": (
        lambda p: nn.Adam(p, RATE, weight_decay=0.1, decayed=[]),
        lambda p: torch.optim.AdamW(p, RATE, weight_decay=0.0),
    ),
}


def parameters() -> list[nn.Parameter]:
    """The same four parameters at every call."""
    return [nn.Parameter(random_tensor(s, torch.float64, i)) for i, s in enumerate(SHAPES)]


def gradients(step: int) -> list[Tensor]:
    """The gradients of one step: of very different sizes, with an exact zero now and then."""
    scales = [1.0, 1e3, 1e-6, 0.0 if step % 3 else 1.0]
    return [
        random_tensor(shape, torch.float64, 100 * step + i) * scales[i]
        for i, shape in enumerate(SHAPES)
    ]


@pytest.mark.parametrize("name", PAIRS)
def test_every_step_is_that_of_torch(name: str) -> None:
    own = parameters()
    theirs = [p.data.clone().requires_grad_() for p in own]
    optimiser, reference = PAIRS[name][0](own), PAIRS[name][1](theirs)
    for step in range(STEPS):
        optimiser.learning_rate = {7: 0.3, 13: 1e-4}.get(step, optimiser.learning_rate)
        with torch.inference_mode():
            optimiser.zero_grad()
            for parameter, gradient in zip(own, gradients(step), strict=True):
                parameter.add_gradient(gradient.clone())
            optimiser.step()
        for group in reference.param_groups:
            group["lr"] = optimiser.learning_rate
        for expected, gradient in zip(theirs, gradients(step), strict=True):
            expected.grad = gradient
        reference.step()
        for parameter, expected in zip(own, theirs, strict=True):
            assert relative_error(parameter.data, expected) < 1e-12, f"step {step}"


def test_state_of_another_network_is_refused() -> None:
    state = nn.Adam(parameters()[:2], RATE).state_dict()
    with pytest.raises(ValueError):
        nn.Adam(parameters(), RATE).load_state_dict(state)


@pytest.mark.parametrize("maximum", [1e-3, 1e9])
def test_clipping_is_that_of_torch(maximum: float) -> None:
    own = parameters()
    theirs = [p.data.clone().requires_grad_() for p in own]
    for parameter, expected, gradient in zip(own, theirs, gradients(3), strict=True):
        parameter.add_gradient(gradient.clone())
        expected.grad = gradient.clone()
    norm = torch.nn.utils.clip_grad_norm_(theirs, maximum)
    with torch.inference_mode():
        ours = nn.clip_gradient_norm(own, maximum)
    assert ours.shape == ()
    assert relative_error(ours, norm) < 1e-12
    for parameter, expected, gradient in zip(own, theirs, gradients(3), strict=True):
        assert expected.grad is not None
        assert relative_error(parameter.grad, expected.grad) < 1e-12
        if maximum == 1e9:
            assert torch.equal(parameter.grad, gradient)


def test_clipping_leaves_zero_gradients_alone() -> None:
    own = parameters()
    assert float(nn.clip_gradient_norm(own, 1.0)) == 0.0
    assert not any(p.grad.any() for p in own)


def test_schedules_have_the_factors_worked_out_by_hand() -> None:
    cosine, warm = nn.Schedule("cosine", 60), nn.Schedule("cosine", 70, warmup_steps=10)
    ending, constant = nn.Schedule("linear-end", 80), nn.Schedule(warmup_steps=4)
    for schedule, steps, factors in (
        (cosine, (0, 20, 30, 40, 60, 1000), (1, 0.75, 0.5, 0.25, 0, 0)),
        (warm, (0, 4, 9, 10, 30, 40, 70), (0.1, 0.5, 1, 1, 0.75, 0.5, 0)),
        (ending, (0, 60, 70, 75, 80, 1000), (1, 1, 0.5, 0.25, 0, 0)),
        (constant, (0, 1, 2, 3, 4, 10_000), (0.25, 0.5, 0.75, 1, 1, 1)),
    ):
        assert [schedule.factor(step) for step in steps] == pytest.approx(factors, abs=1e-12)


def test_unknown_schedule_is_refused() -> None:
    wanted = "unknown schedule .step.: use constant, linear-end, cosine"
    with pytest.raises(ValueError, match=wanted):
        nn.Schedule("step")


def test_the_average_follows_its_formula() -> None:
    weight = torch.randn(3, 4, dtype=torch.float64)
    average = nn.MovingAverage([weight], 0.5)
    expected = weight.clone()
    for step in range(1, 12):
        weight += torch.randn_like(weight)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
        assert torch.allclose(average.means[0], expected, rtol=1e-12)


def test_inside_the_block_the_weights_are_the_average() -> None:
    weights = [torch.randn(5), torch.randn(2, 3)]
    average = nn.MovingAverage(weights, 0.9)
    weights[0] += 1
    before = [weight.clone() for weight in weights]
    means = [mean.clone() for mean in average.means]
    with pytest.raises(ValueError, match="on the way"), average.in_place():
        assert all(map(torch.equal, weights, means))
        raise ValueError("on the way")
    assert all(map(torch.equal, weights, before))
    assert all(map(torch.equal, average.means, means))
