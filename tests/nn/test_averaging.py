"""The moving average follows its formula, and lends its values without losing the weights."""

from __future__ import annotations

import pytest
import torch

from audio_denoising.nn import MovingAverage


def test_it_follows_the_formula() -> None:
    weight = torch.randn(3, 4, dtype=torch.float64)
    average = MovingAverage([weight], 0.5)
    expected = weight.clone()
    for step in range(1, 12):
        weight += torch.randn_like(weight)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
        assert torch.allclose(average.means[0], expected, rtol=1e-12)


def test_inside_the_block_the_weights_are_the_average() -> None:
    weights = [torch.randn(5), torch.randn(2, 3)]
    average = MovingAverage(weights, 0.9)
    weights[0] += 1
    before = [weight.clone() for weight in weights]
    means = [mean.clone() for mean in average.means]
    with pytest.raises(ValueError, match="on the way"), average.in_place():
        assert all(map(torch.equal, weights, means))
        raise ValueError("on the way")
    assert all(map(torch.equal, weights, before))
    assert all(map(torch.equal, average.means, means))


def test_it_goes_on_where_it_was() -> None:
    weights = [torch.randn(5)]
    straight, resumed = MovingAverage(weights, 0.99), MovingAverage(weights, 0.99)
    for _ in range(3):
        weights[0] += 1
        straight.update()
    with straight.in_place():
        resumed.resume(straight.steps)
    for average in (straight, resumed):
        average.update()
    assert torch.equal(straight.means[0], resumed.means[0])


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay"):
        MovingAverage([torch.zeros(1)], decay)
