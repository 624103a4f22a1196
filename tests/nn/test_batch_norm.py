"""Batch normalisation beyond its gradient: running averages, evaluation, precision, and folding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.nn import folded
from tests.nn.parity import random_tensor, randomise, relative_error

C = 6


def batch(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """(T, N, F, C), each channel with a mean and spread of its own."""
    spread = torch.linspace(0.1, 5, C, dtype=dtype)
    return random_tensor((7, 2, 5, C), dtype, seed) * spread + seed * spread.flip(0)


@pytest.mark.parametrize("kind", [nn.BatchNorm, nn.BatchNormSiLU])
def test_running_averages_and_evaluation_are_those_of_torch(kind: type[nn.BatchNorm]) -> None:
    ours = kind(C)
    ours.momentum, ours.epsilon = 0.3, 1e-3
    theirs = torch.nn.BatchNorm1d(C, momentum=0.3, eps=1e-3).double()
    randomise(ours, torch.float64, seed=2)
    theirs.load_state_dict(ours.state_dict(), strict=False)  # theirs counts batches
    for seed in range(4):
        ours(batch(seed))
        theirs(batch(seed).flatten(0, 2))
    for name in ("running_mean", "running_var"):
        assert relative_error(ours.state_dict()[name], theirs.state_dict()[name]) < 1e-12
    state = ours.state_dict()
    x = batch(9)
    expected = theirs.eval()(x.flatten(0, 2)).view_as(x)
    if kind is nn.BatchNormSiLU:
        expected = torch.nn.functional.silu(expected)
    assert relative_error(ours.eval()(x), expected) < 1e-12
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("offset", [1.0, 1e3, 1e5])
def test_moments_far_from_zero_do_not_cancel(offset: float) -> None:
    """E[z^2] - E[z]^2 would lose every digit in float32."""
    x = random_tensor((40, 5, 700, 2), torch.float32, 1) + offset
    layer = nn.BatchNorm(2)
    layer.momentum = 1.0
    layer(x)
    rows = x.double().flatten(0, 2)
    assert relative_error(layer.running_mean.data, rows.mean(0)) < 1e-6
    assert relative_error(layer.running_var.data, rows.var(0)) < 1e-5


def chains() -> dict[str, nn.Module]:
    """Normalisations behind and beside what they can be folded into."""
    s, n, a = nn.Sequential, nn.BatchNorm, nn.BatchNormSiLU
    return {
        "behind linear": s(nn.Linear(C, C), n(C)),
        "without biases": s(nn.Linear(C, C, False), n(C, False)),
        "behind convolution": s(nn.FrequencyConv(C, C), a(C), nn.FrequencyConv(C, C), n(C)),
        "behind nothing": s(n(C), nn.SiLU()),
        "behind another layer": s(nn.GRU(C, C), n(C), nn.SiLU(), a(C)),
        "twice": s(nn.Linear(C, C), n(C), a(C)),
        "alone": s(n(C)),
        "nested": nn.UNetLevel(
            s(nn.Linear(C, C), a(C)), nn.Residual(n(C)), s(nn.Linear(2 * C, C)), -1
        ),
    }


@pytest.mark.parametrize("name", chains())
def test_a_folded_chain_is_the_chain_in_evaluation_mode(name: str) -> None:
    chain = chains()[name]
    randomise(chain, torch.float64, seed=4)
    for seed in range(3):
        chain(batch(seed))
    before: dict[str, Any] = chain.state_dict()
    x = batch(9)
    given = x.clone()
    fast = folded(chain)
    assert chain.training and not fast.training
    found, expected = fast(x), chain.eval()(x)
    assert relative_error(found, expected) < 1e-12
    assert torch.equal(x, given)
    assert all(torch.equal(value, before[key]) for key, value in chain.state_dict().items())
    assert before.keys() == chain.state_dict().keys()
