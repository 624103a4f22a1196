"""The defaults are the original's, and senseless settings are refused by the option's own name."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from audio_denoising.cli.app import commands
from audio_denoising.errors import UserError
from audio_denoising.nn import optimisers
from audio_denoising.training.options import (
    SCHEDULES,
    RunPlace,
    TrainingOptions,
    option_name,
)


def test_what_can_be_chosen_is_what_there_is() -> None:
    assert SCHEDULES == optimisers.SCHEDULES


@pytest.mark.parametrize(
    ("version", "size", "rate", "epochs", "batch"),
    [
        ("v2", "small", 1e-4, 50, 16),
        ("v3", "large", 1e-3, 10, 16),
        ("v4", "large", 1e-4, 50, 16),
        ("torch", "large", 1e-4, 50, 16),
        ("v5", "base", 1e-3, 200, 4),
    ],
)
def test_defaults(version: str, size: str, rate: float, epochs: int, batch: int) -> None:
    found = TrainingOptions(version)
    assert (found.size, found.learning_rate, found.epochs) == (size, rate, epochs)
    assert (found.batch_size, found.seed) == (batch, 0)
    chosen = TrainingOptions(version, size="small", epochs=3, learning_rate=0.5)
    assert (chosen.size, chosen.epochs, chosen.learning_rate) == ("small", 3, 0.5)
    assert TrainingOptions(**found.as_dict()) == found


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": ""}, "unknown size ''"),
        ({"schedule": "steps"}, "unknown schedule 'steps' for v4: choose one of constant"),
        ({"epoch_size": -5}, "--epoch-size must be above 0"),
        ({"learning_rate": 0.0}, "--lr must be above 0"),
        ({"learning_rate": float("nan")}, "--lr must be above 0"),
        ({"ema": 1.0}, "--ema must be below 1"),
        ({"patience": -1}, "--patience must not be negative"),
        ({"warmup_steps": -1}, "--warmup must not be negative"),
        ({"seed": 2**63}, "--seed must be below"),
        ({"version": "v5", "augmentation": "wide"}, "'wide' for v5: choose one of rich"),
        ({"version": "v5", "clip_seconds": 0.0}, "--clip-seconds must be from 0.1 to 60"),
        ({"clip_seconds": 2.0}, "v4 hears clips of 2.55 s: leave --clip-seconds out"),
        ({"version": "v5", "perceptual": -1.0}, "--perceptual must not be negative"),
        ({"perceptual": 1.0}, "--perceptual is for v5"),
        ({"accumulate": 0}, "--accumulate must be above 0"),
        ({"save_seconds": float("nan")}, "--save-every must not be negative"),
    ],
)
def test_refusals(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        if settings.keys() & {"accumulate", "save_seconds"}:
            RunPlace([Path()], [Path()], Path(), **settings)
        TrainingOptions(**({"version": "v4"} | settings))


def test_names_on_the_command_line() -> None:
    """Every attribute is an option of `denoise train`, but for version and weights of folders."""
    known = {
        option for each in get_command(commands()).commands["train"].params for option in each.opts
    }
    names = {each.name for kind in (TrainingOptions, RunPlace) for each in fields(kind)}
    unknown = {name for name in names if option_name(name) not in known}
    assert unknown == {"version", "speech_weights", "noise_weights"}
