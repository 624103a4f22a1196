"""Hurts real training runs in every way that befalls them, and says whether they got over it.

python -m benchmarks.faults [--kills 20] [--seed 0] [--json benchmarks/results/faults.json]
python -m benchmarks.faults --repeat-failed FILE --json FILE    only what failed in an earlier run

Runs of `denoise train v4 --size small` on the tiny corpus of the tests are killed at random moments
and resumed; their disk gets full, their checkpoints are damaged, a recording vanishes, one process
of two is lost. Each must do what the documents promise, down to the last bit of the final weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from benchmarks import measuring
from benchmarks.fault_cases import CASES, Case, Patient, Skipped
from benchmarks.fault_kills import killed_and_whole
from benchmarks.fault_report import faults_table
from benchmarks.fault_runs import Broken
from benchmarks.measuring import describe_machine

AT_ONCE = 3  # runs
progress = Console(stderr=True)


def verdict(name: str, do: Callable[[], str]) -> dict[str, Any]:
    """Does it; whether the promises were kept, what was seen, how long it took."""
    progress.print(f"{name} …", markup=False)
    since = time.monotonic()
    try:
        result, seen = "passed", do()
    except Skipped as reason:
        result, seen = "skipped", str(reason)
    except Broken as promise:
        result, seen = "failed", str(promise)
    return {
        "case": name,
        "verdict": result,
        "seen": seen,
        "seconds": round(time.monotonic() - since, 1),
    }


def measure(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """All cases, each in a folder of its own below `folder`."""
    rows: list[dict[str, Any]] = []

    def kill() -> str:
        found, seen = killed_and_whole(folder, kills, seed)
        rows.extend(found)
        return seen

    with ThreadPoolExecutor(AT_ONCE) as pool:  # what takes time happens in other processes
        killed = pool.submit(verdict, f"{kills} kills", kill)
        others = _submit(pool, CASES, folder)
        cases = [killed.result(), *(each.result() for each in others)]
    writes = [row for row in rows if row["file_being_written"]]
    return {
        "machine": describe_machine(),
        "seed": seed,
        "kills_by_signal": Counter(row["signal"] for row in rows),
        "of_these_during_a_write": Counter(row["signal"] for row in writes),
        "cases": cases,
        "kills": rows,
    }


def repeat_failed(folder: Path, results: dict[str, Any]) -> dict[str, Any]:
    """The results with the verdicts anew of all cases that failed, other than kills."""
    failed = {row["case"] for row in results["cases"] if row["verdict"] == "failed"}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        again = _submit(pool, [case for case in CASES if _title(case) in failed], folder)
        rows = {row["case"]: row for row in (each.result() for each in again)}
    return {**results, "cases": [rows.get(row["case"], row) for row in results["cases"]]}


def _submit(
    pool: ThreadPoolExecutor, cases: Sequence[Case], folder: Path
) -> list[Future[dict[str, Any]]]:
    """Makes every case begin in a folder of its own."""
    (folder / "patient").mkdir()
    patient = Patient(folder / "patient")
    verdicts = []
    for case in cases:
        place = folder / case.__name__
        place.mkdir()
        verdicts.append(pool.submit(verdict, _title(case), partial(case, patient, place)))
    return verdicts


def _title(case: Case) -> str:
    return (case.__doc__ or "").splitlines()[0]


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the tables, keeps the figures; exit code 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument(
        "--repeat-failed", type=Path, metavar="JSON", help="only the failed cases of an earlier run"
    )
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        if given.repeat_failed is None:
            results = measure(Path(folder), given.kills, given.seed)
        else:
            earlier = json.loads(given.repeat_failed.read_text(encoding="utf-8"))
            results = repeat_failed(Path(folder), earlier)
    Console().print(Markdown(faults_table(results)))
    if given.json is not None:
        measuring.write(results, given.json)
    sys.exit(any(case["verdict"] == "failed" for case in results["cases"]))


if __name__ == "__main__":
    main()
