"""Real training runs are killed and hurt in every way, and get over it: the short form.

``python -m benchmarks.faults`` is the long one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.fault_cases import (
    Patient,
    Skipped,
    both_damaged,
    file_limit,
    flipped,
    full_disk,
    lost_recording,
    restarted_process,
)
from benchmarks.fault_kills import MOMENTS, SIGNALS, killed_and_whole, plan
from benchmarks.fault_runs import Broken, Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc"),
]


@pytest.fixture(scope="session")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """A run of two epochs, and the same one killed half-way."""
    return Patient(tmp_path_factory.mktemp("patient"))


def test_killed_by_every_signal_it_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    rows, seen = killed_and_whole(tmp_path, kills=3, seed=0)
    assert {row["signal"] for row in rows} == {"SIGKILL", "SIGTERM", "SIGINT"}
    assert any(row["file_being_written"] for row in rows)
    assert "bit for bit" in seen


CASES = (file_limit, full_disk, flipped, both_damaged, lost_recording, restarted_process)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_else_befalls_a_run(
    case: Callable[[Patient, Path], str], patient: Patient, tmp_path: Path
) -> None:
    try:
        assert case(patient, tmp_path)
    except Skipped as reason:
        pytest.skip(str(reason))


def test_the_plan_of_kills() -> None:
    pairs = plan(20)
    assert len(pairs) == 20
    assert {number for number, _ in pairs} == set(SIGNALS)
    assert {moment for _, moment in pairs} == set(MOMENTS)
    for number in SIGNALS:
        assert sum(n == number and moment == "writing" for n, moment in pairs) >= 3


def test_a_broken_promise_is_a_failed_case() -> None:
    def fail() -> str:
        raise Broken("a checkpoint was lost")

    def skip() -> str:
        raise Skipped("no disk")

    assert faults.verdict("kept", lambda: "seen")["verdict"] == "passed"
    failed, skipped = faults.verdict("broken", fail), faults.verdict("not done", skip)
    assert (failed["verdict"], failed["seen"]) == ("failed", "a checkpoint was lost")
    assert (skipped["verdict"], skipped["seen"]) == ("skipped", "no disk")
    results = {
        "kills_by_signal": {"SIGKILL": 7},
        "of_these_during_a_write": {},
        "cases": [failed],
    }
    told = faults.table(results)
    assert "| SIGKILL | 7 | 0 |" in told
    assert "| broken | failed | a checkpoint was lost |" in told


def test_damage_to_the_run_s_checkpoint_is_noticed_by_the_harness(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert run.step() == 0
    run.out.mkdir()
    (run.out / "last.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(Broken, match="is not whole"):
        run.step()
