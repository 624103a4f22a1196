"""Real training runs are killed and hurt in every way, and get over it: the short form.

``python -m benchmarks.faults`` is the long one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_denoising.models import WIDTHS
from benchmarks import faults
from benchmarks.fault_cases import (
    Patient,
    Skipped,
    both_damaged,
    file_limit,
    flipped,
    lost_recording,
    restarted_process,
)
from benchmarks.fault_kills import MOMENTS, SIGNALS, killed_and_whole, plan
from benchmarks.fault_runs import NEVER, Broken, Run, differences

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc"),
]


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    """A network with a quarter of the work and of the bytes to save, in this file and in its runs
    alone."""
    with pytest.MonkeyPatch.context() as patch:
        widths = (8, 16, 32, 64, 128)
        patch.setitem(WIDTHS, "small", widths)
        patch.setenv("FAULT_WIDTHS", ",".join(map(str, widths)))
        yield


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """A run of two epochs, and the same one killed half-way."""
    return Patient(tmp_path_factory.mktemp("patient"))


def test_killed_by_every_signal_it_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    rows, seen = killed_and_whole(tmp_path, kills=3, seed=0)
    assert {row["signal"] for row in rows} == {"SIGKILL", "SIGTERM", "SIGINT"}
    assert any(row["file_being_written"] for row in rows)
    assert "bit for bit" in seen


def test_v5_ends_as_if_nobody_had_killed_it(tmp_path: Path) -> None:
    clips: dict[str, Any] = {"version": "v5", "batch": 2, "more": ("--clip-seconds", "0.5")}
    whole, hurt = (
        Run(tmp_path / "whole", save_seconds=NEVER, **clips),
        Run(tmp_path / "hurt", **clips),
    )
    whole.finish()
    for _ in range(2):
        hurt.stop_after(2)
    assert 0 < hurt.step() < 8
    hurt.finish()
    assert differences(whole, hurt) == []


# A full disk is met like a limit of the system, which needs no right to mount one.
CASES = (file_limit, flipped, both_damaged, lost_recording, restarted_process)


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


@pytest.mark.parametrize("kept", [True, False])
def test_what_the_benchmark_writes(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill(folder: Path, kills: int, seed: int) -> tuple[list[dict[str, object]], str]:
        if not kept:
            raise Broken("a checkpoint was lost")
        rows = [{"signal": "SIGKILL", "file_being_written": name} for name in (None, "last.pth")]
        return rows, f"{kills} kills from seed {seed}"

    def full_disk(folder: Path, place: Path) -> str:
        """The disk is full."""
        raise Skipped(f"no disk in {place.name} of {folder.name}")

    monkeypatch.setattr(faults, "killed_and_whole", kill)
    # A folder that is not there cannot be listed.
    monkeypatch.setattr(faults, "Patient", lambda folder: next(folder.iterdir(), folder))
    monkeypatch.setattr(faults, "CASES", (full_disk,))
    with pytest.raises(SystemExit) as ended:
        faults.main(["--kills", "2", "--seed", "3", "--json", str(tmp_path / "faults.json")])
    assert bool(ended.value.code) is not kept
    results = json.loads((tmp_path / "faults.json").read_text())
    verdicts = [
        tuple(case[key] for key in ("case", "verdict", "seen")) for case in results["cases"]
    ]
    seen = ("passed", "2 kills from seed 3") if kept else ("failed", "a checkpoint was lost")
    assert verdicts == [
        ("2 kills", *seen),
        ("The disk is full.", "skipped", "no disk in full_disk of patient"),
    ]
    assert results["kills_by_signal"] == ({"SIGKILL": 2} if kept else {})
    assert results["of_these_during_a_write"] == ({"SIGKILL": 1} if kept else {})
    assert seen[1] in " ".join(capsys.readouterr().out.split())


def test_failed_cases_are_repeated_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(folder: Path, place: Path) -> str:
        """The disk is full."""
        return "this time it held"

    monkeypatch.setattr(faults, "Patient", lambda folder: folder)
    monkeypatch.setattr(faults, "CASES", (full_disk, file_limit))
    kills = {"case": "2 kills", "verdict": "passed", "seen": "nothing", "seconds": 1}
    disk = {"case": "The disk is full.", "verdict": "failed", "seen": "a loss", "seconds": 1}
    found = faults.repeat_failed(tmp_path, {"seed": 3, "cases": [kills, disk]})
    assert found["cases"][0] == kills
    assert found["cases"][1]["verdict"] == "passed"
    assert (found["cases"][1]["seen"], found["seed"]) == ("this time it held", 3)


def test_damage_to_the_run_s_checkpoint_is_noticed_by_the_harness(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert run.step() == 0
    run.out.mkdir()
    (run.out / "last.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(Broken, match="is not whole"):
        run.step()
