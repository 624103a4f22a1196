"""`denoise verify`: right layers pass, a slip in any place is caught, and the table says so."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from audio_denoising import nn
from audio_denoising.cli.app import commands
from audio_denoising.evaluation import verification
from audio_denoising.evaluation.verification import Subject, subjects, verify
from tests.nn.parity import Slipping

SHAPE = (2, 3, 8, 6)


def subject(slip: str) -> Subject:
    """A convolution that is wrong by a thousandth in one place, or in none."""

    def ours() -> nn.Module:
        layer = Slipping(3, 4, 3, 1, 1)
        layer.slip, layer.factor = slip, 1.001
        return layer

    return Subject("it", ours, lambda: torch.nn.Conv2d(3, 4, 3, 1, 1), SHAPE, SHAPE)


def test_every_layer_and_network_is_a_subject() -> None:
    """Nothing that the networks are made of is left out."""
    judged = {type(m) for s in subjects() for m in s.ours().modules()}
    exported = {getattr(nn, name) for name in nn.__all__}
    # Recompute has no derivative of its own: tests/nn/test_recompute.py compares it bit by bit.
    bases = {nn.Module, nn.Loss, nn.L1Loss, nn.MSELoss, nn.Recompute}
    layers = {c for c in exported if isinstance(c, type) and issubclass(c, nn.Module)}
    assert layers - bases <= judged


@pytest.mark.parametrize("slip", ["output", "weight gradient", "bias gradient", "input gradient"])
def test_a_slip_is_caught(slip: str) -> None:
    right, wrong = verify([subject(""), subject(slip)])
    assert right.passed
    assert not wrong.passed
    judged_by = wrong.forward if slip == "output" else wrong.gradient
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
    small[:] = [subject("weight gradient")]
    result = CliRunner().invoke(commands(), ["verify"])
    assert result.exit_code != 0
    assert "WRONG" in result.output and "1 of 1 do not agree with their judges (it)" in str(
        result.exception
    )
