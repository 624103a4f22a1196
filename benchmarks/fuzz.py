"""Feeds hostile media files to the program; none may harm it.

python -m benchmarks.fuzz [--inputs 20000] [--seed 0] [--kind KIND ...] [--json FILE] [--keep DIR]

Every input is a file of tests/fuzz/corpus with a few damages drawn at random, always the same for a
seed. It is read as the commands read it, in a process that is watched (`fuzz_worker`). It may be
accepted, or refused with a sentence. All else is a fault: an exception that would reach the user as
a traceback, a process that dies, that takes more than 10 s of processor time or more than 2 GiB of
memory, or that executes what the file says.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track

from benchmarks import measuring
from benchmarks.fuzz_mutators import mutated
from benchmarks.fuzz_targets import clean_media
from benchmarks.fuzz_worker import FAULTS, Limits, Outcome, Watched
from benchmarks.measuring import describe_machine, markdown_table

CORPUS = Path(__file__).resolve().parent.parent / "tests" / "fuzz" / "corpus"
OTHERS = "others"
KINDS = ("wav", "flac", "mp3", "mp4", OTHERS)


@cache
def seeds(kind: str) -> dict[str, bytes]:
    """The good files of a kind: name -> content."""
    files = {path.name: path.read_bytes() for path in sorted(CORPUS.iterdir())}
    known = tuple(f".{each}" for each in KINDS)
    if kind == OTHERS:
        return {name: data for name, data in files.items() if not name.endswith(known)}
    return {name: data for name, data in files.items() if name.endswith(f".{kind}")}


def make(kind: str, index: int, seed: int) -> tuple[str, bytes]:
    """The ending and the content of an input; always the same for the same arguments."""
    drawn = random.Random(f"{seed} {kind} {index}")
    name = drawn.choice(list(seeds(kind)))
    others = seeds(kind if drawn.random() < 0.8 else drawn.choice(KINDS))
    data = mutated(seeds(kind)[name], drawn, list(others.values()))
    return Path(name).suffix, data


def fuzz(kind: str, inputs: int, seed: int) -> Iterator[tuple[int, str, bytes, Outcome]]:
    """Index, ending, content and outcome of every input."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        canary = Path(name) / "canary"
        with Watched(clean_media, canary) as watched:
            for index in range(inputs):
                suffix, data = make(kind, index, seed)
                path = Path(name) / f"input{suffix}"
                path.write_bytes(data)
                yield index, suffix, data, watched.feed(path)


def run(kind: str, inputs: int, seed: int, keep: Path | None) -> dict[str, Any]:
    """Counts of one kind; the inputs that lead to faults go to ``keep``."""
    started = time.perf_counter()
    counts: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    peak = 0.0
    console = Console(stderr=True)
    for index, suffix, data, outcome in track(
        fuzz(kind, inputs, seed), kind, inputs, console=console, disable=not console.is_terminal
    ):
        counts[outcome.verdict] += 1
        peak = max(peak, outcome.peak_mib)
        if outcome.fault:
            faults.append({"index": index, "fault": outcome.verdict, "detail": outcome.detail})
            print(f"{kind} {index}: {outcome.verdict}: {outcome.detail}", file=sys.stderr)
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{kind}-{index}{suffix}").write_bytes(data)
    return {
        "kind": kind,
        "inputs": inputs,
        **{verdict: counts[verdict] for verdict in ("accepted", "refused", *FAULTS)},
        "peak_mib": peak,
        "seconds": time.perf_counter() - started,
        "faults": faults,
    }


def keep_counts(rows: list[dict[str, Any]], seed: int, path: Path) -> None:
    """Writes the counts; kinds that are in the file and were not run now stay as they are."""
    about = {"machine": describe_machine(), "seed": seed, "limits": vars(Limits())}
    counts = {row["kind"]: row for row in rows}
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if all(before[name] == about[name] for name in ("seed", "limits")):
            counts = {row["kind"]: row for row in before["kinds"]} | counts
    ordered = [counts[kind] for kind in KINDS if kind in counts]
    measuring.write(
        {**about, "inputs": sum(row["inputs"] for row in ordered), "kinds": ordered}, path
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The counts as Markdown."""
    columns = ["kind", "inputs", "accepted", "refused", *FAULTS, "peak MiB", "seconds"]
    cells = [
        [
            f"{row[name.replace(' MiB', '_mib')]:.0f}" if name != "kind" else row[name]
            for name in columns
        ]
        for row in rows
    ]
    return markdown_table(columns, cells)


def main(arguments: list[str] | None = None) -> int:
    """Feeds the inputs, prints the table, keeps the counts; 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="in all, shared by the kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: all")
    parser.add_argument("--json", type=Path, help="file for the counts")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that lead to faults")
    given = parser.parse_args(arguments)
    kinds = given.kind or KINDS
    rows: list[dict[str, Any]] = []
    for kind in kinds:
        rows.append(run(kind, given.inputs // len(kinds), given.seed, given.keep))
        if given.json is not None:  # after each, as all take a while
            keep_counts(rows, given.seed, given.json)
    Console().print(Markdown(table(rows)))
    return int(any(row["faults"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
