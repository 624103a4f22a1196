"""The watched process notices every fault, and tells it of the file that led to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="limits of a process are a matter of Unix")

from benchmarks.fuzz_worker import Limits, Outcome, Watched
from tests.fuzz.plants import misbehave

LIMITS = Limits(cpu_seconds=1, wall_seconds=60.0, memory_mib=600, data_mib=4000)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Watched(misbehave, tmp_path_factory.mktemp("work") / "canary", LIMITS) as process:
        yield process


def outcome(watched: Watched, folder: Path, what: str) -> Outcome:
    path = folder / "input"
    path.write_text(what)
    return watched.feed(path)


def test_good_files_and_refusals_are_no_faults(watched: Watched, tmp_path: Path) -> None:
    assert outcome(watched, tmp_path, "nothing").verdict == "accepted"
    refused = outcome(watched, tmp_path, "refuse")
    assert (refused.verdict, refused.fault) == ("refused", False)
    assert refused.detail == f"{tmp_path / 'input'} is refused"
    assert 1 < refused.peak_mib < LIMITS.memory_mib


@pytest.mark.parametrize(
    ("what", "verdict", "detail"),
    [
        ("raise", "exception", "KeyError: 'a key' [fuzz_worker.py"),
        ("leave", "exception", "SystemExit"),
        ("crash", "crash", "SIGSEGV"),
        ("die", "crash", "exit code 0"),
        ("work for ever", "hang", "more than 1 s of processor"),
        ("hog", "memory", "MiB"),
        ("make the canary", "executed", "the canary was made"),
        ("run a command", "executed", "os.system"),
    ],
)
def test_a_fault_is_noticed_and_the_next_file_is_not_blamed(
    what: str, verdict: str, detail: str, watched: Watched, tmp_path: Path
) -> None:
    found = outcome(watched, tmp_path, what)
    assert (found.verdict, found.fault) == (verdict, True)
    assert detail in found.detail
    assert outcome(watched, tmp_path, "nothing").verdict == "accepted"


def test_a_process_that_sleeps_is_noticed(tmp_path: Path) -> None:
    with Watched(misbehave, tmp_path / "canary", Limits(wall_seconds=0.2)) as process:
        found = outcome(process, tmp_path, "sleep for ever")
    assert found == Outcome("hang", "no answer in 0.2 s")
