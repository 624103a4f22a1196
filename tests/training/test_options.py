"""The defaults are the original's, and senseless settings are refused by the option's own name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audio_denoising.errors import UserError
from audio_denoising.training.options import RunPlace, TrainingOptions


@pytest.mark.parametrize(
    ("version", "size", "rate", "epochs"),
    [
        ("v2", "small", 1e-4, 50),
        ("v3", "large", 1e-3, 10),
        ("v4", "large", 1e-4, 50),
        ("torch", "large", 1e-4, 50),
    ],
)
def test_defaults(version: str, size: str, rate: float, epochs: int) -> None:
    found = TrainingOptions(version)
    assert (found.size, found.learning_rate, found.epochs) == (size, rate, epochs)
    assert (found.batch_size, found.seed) == (16, 0)
    chosen = TrainingOptions(version, size="small", epochs=3, learning_rate=0.5)
    assert (chosen.size, chosen.epochs, chosen.learning_rate) == ("small", 3, 0.5)
    assert TrainingOptions(**found.as_dict()) == found


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"version": "v9"}, "unknown version 'v9': choose one of v2, v3, v4, torch"),
        ({"size": "huge"}, "unknown size 'huge': choose one of small, large"),
        ({"schedule": "steps"}, "unknown schedule 'steps': choose constant or cosine"),
        ({"precision": "fp16"}, "unknown precision 'fp16': choose fp32 or bf16"),
        ({"epochs": -1}, "--epochs must be above 0"),
        ({"batch_size": 0}, "--batch-size must be above 0"),
        ({"epoch_size": 0}, "--epoch-size must be above 0"),
        ({"epoch_size": -5}, "--epoch-size must be above 0"),
        ({"learning_rate": -1.0}, "--lr must be above 0"),
        ({"learning_rate": float("nan")}, "--lr must be above 0"),
        ({"warmup_steps": -1}, "--warmup must not be negative"),
        ({"momentum": -0.5}, "--momentum must not be negative"),
        ({"clip_norm": -1.0}, "--clip-norm must not be negative"),
        ({"seed": -1}, "--seed must not be negative"),
        ({"seed": 2**63}, "--seed must be below"),
        ({"augmentation": "wild"}, "unknown augmentation 'wild': choose original or varied"),
    ],
)
def test_refusals(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        TrainingOptions(**({"version": "v4"} | settings))


def test_negative_workers() -> None:
    with pytest.raises(UserError, match="--workers must not be negative"):
        RunPlace([Path()], [Path()], Path(), workers=-1)
