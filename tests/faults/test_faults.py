"""Real training runs are killed and hurt, and get over it; `benchmarks.faults` in short."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("resource", reason="limits of a process are a matter of Unix")

from benchmarks.faults import CASES, MOMENTS, NEVER, SIGNALS, Broken, Run, killed_and_whole, plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc"),
]


def test_killed_by_every_signal_it_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    seen = killed_and_whole(tmp_path, kills=3, seed=0, rows=rows)
    assert {row["signal"] for row in rows} == {"SIGKILL", "SIGTERM", "SIGINT"}
    assert any(row["file_being_written"] for row in rows)
    assert "bit for bit" in seen


def test_v5_ends_as_if_nobody_had_killed_it(tmp_path: Path) -> None:
    whole, hurt = (
        Run(tmp_path / name, batch=2, save_seconds=seconds, version="v5",
            more=("--clip-seconds", "0.5"))
        for name, seconds in (("whole", NEVER), ("hurt", 0.001))
    )  # fmt: skip
    whole.finish()
    hurt.stop_after(2)
    assert 0 < hurt.step() < 8
    hurt.finish()
    hurt.require_the_end_of(whole)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_else_befalls_a_run(case: Callable[[Path], str], tmp_path: Path) -> None:
    assert case(tmp_path)


def test_every_signal_comes_at_every_moment() -> None:
    assert set(plan(21)) == {(moment, number) for number in SIGNALS for moment in MOMENTS}


def test_damage_to_the_run_s_checkpoint_is_noticed_by_the_harness(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert run.step() == 0
    run.out.mkdir()
    (run.out / "last.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(Broken, match="is not whole"):
        run.step()
