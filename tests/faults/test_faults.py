"""Real training runs are killed and hurt, and get over it; `benchmarks.faults` in short."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("resource", reason="limits of a process are a matter of Unix")

from benchmarks.faults import CASES, Broken, Run, killed_and_whole

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc"),
]


def test_killed_by_every_signal_it_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    assert "bit for bit" in killed_and_whole(tmp_path, kills=3, seed=0, rows=rows)
    assert {row["signal"] for row in rows} == {"SIGKILL", "SIGTERM", "SIGINT"}
    assert any(row["file_being_written"] for row in rows)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_else_befalls_a_run(case: Callable[[Path], str], tmp_path: Path) -> None:
    assert case(tmp_path)


def test_damage_to_the_run_s_checkpoint_is_noticed_by_the_harness(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert run.step() == 0
    run.out.mkdir()
    (run.out / "last.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(Broken, match="is not whole"):
        run.step()
