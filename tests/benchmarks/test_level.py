"""The benchmark of recording levels: what it compares, and the table it prints."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audio_denoising.cleaning.stream import StreamCleaner
from benchmarks import level


def test_towards_a_target_or_as_recorded() -> None:
    x = (0.01 * np.random.default_rng(0).standard_normal((1, 16_000))).astype(np.float32)
    for target, expected in ((None, -40.0), (-20.0, -20.0)):
        towards = level.Towards(target)
        towards.add(x)
        shown = level.Towards(None)
        shown.add(x * towards.gains()[:, None])
        assert shown.decibels() == pytest.approx([expected], abs=0.1)


def test_with_a_target_the_recording_level_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level, "TARGETS_DB", (None, -20.0))
    monkeypatch.setattr(level, "SHIFTS_DB", (0.0, -30.0))
    random = np.random.default_rng(0)
    clean = np.repeat(0.1 * random.standard_normal(160), 100).astype(np.float32)
    noisy = clean + 0.05 * random.standard_normal(16_000).astype(np.float32)
    loud_only = StreamCleaner(
        lambda image: torch.where(image > 0.4, image, 0.0),
        "gate",
        torch.device("cpu"),
        8,
    )
    rows = level.measure(loud_only, [(clean, noisy)])
    as_recorded, levelled = (list(row["si_sdr"].values()) for row in rows)
    assert levelled[0] == pytest.approx(levelled[1], abs=0.01)
    assert abs(as_recorded[0] - as_recorded[1]) > 1
    assert level.table({"rows": rows}).splitlines()[2].startswith("| as recorded | ")
