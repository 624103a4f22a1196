"""Hurts real training runs in every way that befalls them, and says whether they got over it.

python -m benchmarks.faults [--kills 20] [--seed 0] [--json benchmarks/results/faults.json]

Runs of `denoise train v4 --size small` on the tiny corpus of the tests are killed at random moments
and resumed; their disk gets full, their checkpoints are damaged, a recording vanishes, one process
of two is lost. Each must do what the documents promise, down to the last bit of the final weights.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from benchmarks import results_file
from benchmarks.fault_cases import CASES, Patient, Skipped
from benchmarks.fault_kills import killed_and_whole
from benchmarks.fault_report import faults_table
from benchmarks.fault_runs import Broken
from benchmarks.machine import describe_machine

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

    (folder / "patient").mkdir()
    with ThreadPoolExecutor(AT_ONCE) as pool:  # what takes time happens in other processes
        verdicts = [pool.submit(verdict, f"{kills} kills", kill)]
        patient = Patient(folder / "patient")
        for case in CASES:
            place = folder / case.__name__
            place.mkdir()
            title = (case.__doc__ or "").splitlines()[0]
            verdicts.append(pool.submit(verdict, title, partial(case, patient, place)))
    cases = [each.result() for each in verdicts]
    writes = [row for row in rows if row["file_being_written"]]
    return {
        "machine": describe_machine(),
        "seed": seed,
        "kills_by_signal": Counter(row["signal"] for row in rows),
        "of_these_during_a_write": Counter(row["signal"] for row in writes),
        "cases": cases,
        "kills": rows,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the tables, keeps the figures; exit code 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        results = measure(Path(folder), given.kills, given.seed)
    Console().print(Markdown(faults_table(results)))
    if given.json is not None:
        results_file.write(results, given.json)
    sys.exit(any(case["verdict"] == "failed" for case in results["cases"]))


if __name__ == "__main__":
    main()
