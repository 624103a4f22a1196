"""`denoise verify`: right layers pass, a slip in any place is caught, and the table says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from audio_denoising import nn
from audio_denoising.cli.app import commands
from audio_denoising.evaluation import verification
from audio_denoising.evaluation.verification import Subject, subjects, verify

SHAPE = (2, 3, 8, 6)


class Slipped(nn.Conv2d):
    """A convolution with a mistake in one place."""

    def __init__(self, slip: str) -> None:
        super().__init__(3, 4, 3, 1, 1)
        self.slip = slip

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y * 1.001 if self.slip == "forward" else y

    def backward(self, grad_output: Tensor) -> Tensor:
        grad = super().backward(grad_output)
        if self.slip == "weight":
            self.weight.grad.mul_(1.001)
        if self.slip == "bias":
            assert self.bias is not None
            self.bias.grad.zero_()
        return grad.flip(2) if self.slip == "input" else grad


def subject(ours: Callable[[], nn.Module]) -> Subject:
    return Subject("it", ours, lambda: torch.nn.Conv2d(3, 4, 3, 1, 1), SHAPE, SHAPE)


def test_every_layer_and_network_is_a_subject() -> None:
    """Nothing that the networks are made of is left out."""
    judged = {type(m) for s in subjects() for m in s.ours().modules()}
    exported = {getattr(nn, name) for name in nn.__all__}
    # Recompute has no derivative of its own: tests/nn/test_recompute.py compares it bit by bit.
    bases = {nn.Module, nn.Loss, nn.L1Loss, nn.MSELoss, nn.Recompute}
    layers = {c for c in exported if isinstance(c, type) and issubclass(c, nn.Module)}
    assert layers - bases <= judged


@pytest.mark.parametrize("slip", ["forward", "weight", "bias", "input"])
def test_a_slip_is_caught(slip: str) -> None:
    (right,) = verify([subject(lambda: Slipped(""))])
    (wrong,) = verify([subject(lambda: Slipped(slip))])
    assert right.passed
    assert not wrong.passed
    judged_by = wrong.forward if slip == "forward" else wrong.gradient
    assert judged_by > 1e-4
    assert wrong.difference > 1e-4
    assert not verification.Verdict("it", float("nan"), *[0.0] * 4).passed


def test_the_command_prints_a_row_each_and_fails_where_one_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole networks take longer, and are held to autograd in tests/models."""
    small = [s for s in subjects() if s.shape[1] <= 8 and "whole" not in s.name]
    assert len(small) > 10
    monkeypatch.setattr(verification, "subjects", lambda: small)
    result = CliRunner().invoke(commands(), ["verify"])
    assert result.exit_code == 0, result.output
    assert result.output.count("OK") >= len(small)
    assert f"All {len(small)} agree" in result.output
    small[:] = [subject(lambda: Slipped("weight"))]
    result = CliRunner().invoke(commands(), ["verify"])
    assert result.exit_code != 0
    assert "WRONG" in result.output and "1 of 1 do not agree with their judges (it)" in str(
        result.exception
    )
