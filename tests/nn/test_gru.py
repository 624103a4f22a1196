"""The recurrence: its first and last state, chunks of a signal, and gradients through time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audio_denoising import nn
from tests.nn.parity import (
    gradients_of,
    load_into,
    random_tensor,
    randomise,
    relative_error,
    relative_errors,
)

ROWS, INPUTS, HIDDEN = 6, 4, 5


def layer() -> nn.GRU:
    """With float64 weights drawn at random."""
    gru = nn.GRU(INPUTS, HIDDEN)
    randomise(gru, torch.float64, seed=3)
    return gru


def frames(count: int, seed: int = 1) -> Tensor:
    """(T, 2, 3, C): two clips of three bands."""
    return random_tensor((count, 2, 3, INPUTS), torch.float64, seed)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_a_first_state_against_autograd(count: int) -> None:
    ours, theirs = layer(), torch.nn.GRU(INPUTS, HIDDEN)
    load_into(theirs, ours)
    state = random_tensor((ROWS, HIDDEN), torch.float64, 2)
    x = frames(count).requires_grad_()
    expected, last = theirs(x.flatten(1, 2), state[None])
    cotangent = random_tensor((count, 2, 3, HIDDEN), torch.float64, 4)
    expected.view_as(cotangent).backward(cotangent)
    with torch.inference_mode():
        ours.first_state = state
        output = ours(x.detach())
        grad_input = ours.backward(cotangent)
    assert ours.last_state is not None and x.grad is not None
    assert relative_error(output, expected.view_as(cotangent)) < 1e-12
    assert relative_error(ours.last_state, last[0]) < 1e-12
    assert relative_error(grad_input, x.grad) < 1e-12
    errors = relative_errors(gradients_of(ours), gradients_of(theirs), as_one=False)
    assert max(errors.values()) < 1e-12


@pytest.mark.parametrize("sizes", [[20], [1] * 20, [7, 0, 1, 12]], ids=str)
def test_chunks_with_the_state_carried_are_one_long_pass(sizes: list[int]) -> None:
    x = frames(20)
    whole = layer().eval()
    expected = whole(x)
    gru, parts = layer().eval(), []
    for part in x.split(sizes):
        parts.append(gru(part))
        gru.first_state = gru.last_state
    torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gru.last_state, whole.last_state, rtol=1e-12, atol=1e-12)


def test_a_first_state_of_another_signal_is_refused() -> None:
    gru = layer()
    gru.first_state = torch.zeros(2, HIDDEN, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^GRU needs a first state \(6, 5\), got \(2, 5\)$"):
        gru(frames(3))
