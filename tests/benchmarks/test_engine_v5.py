"""The benchmark of v5's training step: both sides compute the same, or there are no times."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from audio_denoising.errors import UserError
from benchmarks import engine_v5
from benchmarks.engine_v5 import OURS, SIDES, TORCH, measure, rounds, table


def test_both_sides_take_the_same_steps() -> None:
    """`rounds` refuses to time sides whose second losses differ."""
    taken = rounds("small", 1, 10, 2)
    for series in taken.values():
        assert series.keys() == set(SIDES)
        assert all(len(times) == 2 and all(s and s > 0 for s in times) for times in series.values())


def test_sides_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {OURS: 1.0, TORCH: 1.001}
    monkeypatch.setattr(engine_v5, "make_step", lambda side, *_: lambda: losses[side])
    with pytest.raises(UserError, match="the losses differ"):
        rounds("small", 1, 10, 2)


def test_the_table_has_a_row_for_each_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    series = {OURS: [1.0, 1.0, 1.0], TORCH: [2.0, 2.0, 2.0]}

    def instead(count: int, call: Any, *arguments: Any) -> list[Any]:
        if call is engine_v5.grown:
            return [30.0 if arguments[0] == OURS else 60.0]
        return [{"seconds": series, "core_seconds": series}] * count

    monkeypatch.setattr(engine_v5, "in_processes", instead)
    settings = {"size": "base", "batch": 16, "frames": 124, "rounds": 3}
    found = measure(argparse.Namespace(**settings, processes=[1, 2]))
    assert found["train_step_ratio"] == found["peak_memory_ratio"] == 0.5
    assert [len(trial["seconds"][OURS]) for trial in found["trials"]] == [3, 6]
    text = table({"settings": settings, **found})
    assert "| 1 | 0.50 (0.50 to 0.50) | 32.0 | 16.0 |" in text
    assert "ours ÷ torch.nn: 0.50 (30 and 60 MiB)" in text
