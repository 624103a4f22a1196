"""The benchmark of the engine: all sides train the same network, or there are no times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_denoising.models import WIDTHS
from audio_denoising.nn.fast import rows
from benchmarks import engine, engine_ablation, measuring
from benchmarks.engine import NCHW, OURS, SIDES, TWINS, engine_table


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network a few channels wide, and trials that need not last."""
    monkeypatch.setitem(WIDTHS, "small", (2, 4, 4, 8, 8))
    monkeypatch.setattr(measuring, "BRIEF", 0.0)


QUICK = ["--batch", "1", "--threads", "1", "--rounds", "2"]


def test_everything_is_in_the_json(
    thin: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    grown = dict(zip(SIDES, (80.0, 100.0, 120.0, 200.0), strict=True))
    monkeypatch.setattr(engine, "in_fresh_process", lambda _, side, *__, threads: grown[side])
    engine.main([*QUICK, "--json", str(tmp_path / "engine.json")])
    results = json.loads((tmp_path / "engine.json").read_text(encoding="utf-8"))
    assert results["peak_memory_ratio"] == 0.8  # of the leaner twin
    for phase in ("forward", "train_step"):
        assert all(len(results["seconds"][phase][side]) == 2 for side in SIDES)
        assert results["ratios"][phase]["to"] in TWINS
    assert results["largest_difference"] < 1e-4
    assert "v4-small, batch 1, 1 threads | " in engine_table([results])


def test_sides_that_differ_are_not_timed(thin: None, monkeypatch: pytest.MonkeyPatch) -> None:
    make = engine.make_side

    def other(name: str, size: str, batch: engine.Batch, weights: Any) -> engine.Side:
        moved = {key: value + 0.1 for key, value in weights.items()}
        return make(name, size, batch, moved if name == OURS else weights)

    monkeypatch.setattr(engine, "make_side", other)
    with pytest.raises(SystemExit, match="the sides differ"):
        monkeypatch.setattr(engine, "memory", lambda *_: {})
        engine.main(QUICK)


@pytest.mark.parametrize("name", SIDES)
def test_every_side_trains_the_same_network(thin: None, name: str) -> None:
    batch, weights = engine.real_batch(2), engine.first_weights("small")
    side, twin = (engine.make_side(each, "small", batch, weights) for each in (name, NCHW))
    for _ in range(3):
        torch.testing.assert_close(side.step(), twin.step(), rtol=1e-4, atol=0)


def test_the_tricks_are_measured_one_by_one(thin: None, tmp_path: Path) -> None:
    path = tmp_path / "ablation.json"
    engine.main([*QUICK, "--ablation", "--json", str(path)])
    results = json.loads(path.read_text(encoding="utf-8"))
    tricks = {row["trick"] for row in results["ablation"]}
    assert {"all of them", "lower along time only", "Winograd for many channels"} <= tricks
    assert all(row["ratio"]["of"] == "without" for row in results["ablation"])


def test_the_alternative_computes_the_same() -> None:
    x, weight, bias = torch.rand(2, 3, 8, 6), torch.rand(4, 3, 3, 3), torch.rand(4)
    torch.testing.assert_close(
        engine_ablation.columns_correlate(x, weight, bias, (1, 1)),
        rows.correlate(x, weight, bias, (1, 1), (1, 1)),
    )
