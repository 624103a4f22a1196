"""Our engine beside torch.nn: time and memory of the same training on the same batch.

python -m benchmarks.engine [--size small|large] [--batch N] [--threads N] [--rounds N]
    [--batches 1,2,4,8,16] [--parts ...] [--json PATH [--update]] [--figure PATH]
python -m benchmarks.engine --ablation ...      what each trick of the fast convolution is worth

The contestants (`engine_sides`) run in turn, in interleaved rounds (`engine_rounds`). Of torch.nn's
two memory layouts the faster one counts, and for memory the leaner one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markdown import Markdown

from audio_denoising.errors import UserError
from benchmarks.engine_ablation import ablation
from benchmarks.engine_layers import gemm_ceiling, layer_shapes, measure_layer
from benchmarks.engine_memory import growth_in_fresh_process
from benchmarks.engine_report import (
    ablation_table,
    draw_batches,
    engine_table,
    layer_table,
    misses_table,
    sides_table,
)
from benchmarks.engine_rounds import Series, better, interleaved, ratio, timed
from benchmarks.engine_sides import (
    OURS,
    REFERENCE,
    SIDES,
    TWINS,
    Batch,
    Side,
    first_weights,
    make_side,
    real_batch,
    set_up,
)
from benchmarks.measuring import describe_machine, write

HEADLINES = ("train_step_ratio", "forward_ratio", "peak_memory_ratio", "reference_over_fast")
PARTS = ("memory", "rounds", "layers", "batches")
DEFAULT_BATCH = {"small": 16, "large": 4}
DEFAULT_BATCHES = {"small": "1,2,4,8,16", "large": "1,2,4"}
DEFAULT_ROUNDS = {"small": 7, "large": 5}
LAYER_ROUNDS = {"small": 5, "large": 3}  # at most: together the layers take what a step takes
TOLERANCE = 1e-3  # of predicted images, whose range is 0 to 1

WIDE = 140  # characters, where the output goes to no terminal

Status = Callable[[str], AbstractContextManager[Any]]


def measure(given: argparse.Namespace, status: Status) -> dict[str, Any]:
    """Everything that was asked for, as the JSON file has it."""
    results: dict[str, Any] = {}
    if "memory" in given.parts:  # first, while this process is small
        with status("memory: three training steps of every side, each in a process of its own"):
            results |= _memory(given)
    results["gemm_ceiling_gflops"] = gemm_ceiling()
    if "rounds" in given.parts:
        with status("rounds: forward passes and training steps"):
            results |= _rounds(given, SIDES)
    if "layers" in given.parts:
        rounds = min(LAYER_ROUNDS[given.size], given.rounds)
        results["layers"] = rows = []
        for shape, count in layer_shapes(given.size).items():
            with status(f"layers: {shape.title}"):
                rows.append(measure_layer(shape, count, given.batch, rounds))
    if "batches" in given.parts:
        results["batches"] = []
        for batch in (int(word) for word in given.batches.split(",")):
            seconds = results.get("seconds") if batch == given.batch else None
            if seconds is None:
                with status(f"batches: {batch}"):
                    fewer = {**vars(given), "batch": batch, "rounds": min(3, given.rounds)}
                    seconds = _rounds(argparse.Namespace(**fewer), (OURS, *TWINS))["seconds"]
            results["batches"].append({"batch": batch, "seconds": seconds})
    return results


def _memory(given: argparse.Namespace) -> dict[str, Any]:
    """Growth of every side in a process of its own, and ours over the leaner twin's."""
    memory = {
        side: growth_in_fresh_process(side, given.size, given.batch, torch.get_num_threads())
        for side in SIDES
    }
    leaner = min(memory[twin]["growth_mib"] for twin in TWINS)
    return {"memory": memory, "peak_memory_ratio": memory[OURS]["growth_mib"] / leaner}


def _rounds(given: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """Forward passes, then training steps, of the named sides; their ratios where all ran."""
    batch, weights = real_batch(given.batch), first_weights(given.size)
    sides = {name: make_side(name, given.size, batch, weights) for name in names}
    difference = _agreement(sides, batch)
    seconds: dict[str, Series] = {}
    for phase, calls in (
        ("forward", {name: side.forward for name, side in sides.items()}),
        ("train_step", {name: side.step for name, side in sides.items()}),
    ):
        trials = {name: timed(phase, call) for name, call in calls.items()}
        seconds |= interleaved(trials, given.rounds, slow=(REFERENCE,))
    ratios = {
        phase: ratio(series, OURS, better(series, TWINS)) for phase, series in seconds.items()
    }
    found: dict[str, Any] = {f"{phase}_ratio": ratios[phase]["median"] for phase in ratios}
    if REFERENCE in sides:
        ratios["reference"] = ratio(seconds["train_step"], REFERENCE, OURS)
        found["reference_over_fast"] = ratios["reference"]["median"]
    return {**found, "ratios": ratios, "largest_difference": difference, "seconds": seconds}


def _agreement(sides: dict[str, Side], batch: Batch) -> float:
    """The largest difference between the images that the sides predict before any training.

    Raises:
        UserError: they do not compute the same thing, so their times cannot be compared.
    """
    expected = sides[TWINS[0]].forward()
    difference = max(float((side.forward() - expected).abs().max()) for side in sides.values())
    if not difference < TOLERANCE:
        raise UserError(f"the sides differ by {difference:.2g} from the same weights: no times")
    return difference


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=tuple(DEFAULT_BATCH), default="small")
    parser.add_argument("--batch", type=int, help="images in a step (small 16, large 4)")
    parser.add_argument("--threads", type=int, help="by default as many as torch takes")
    parser.add_argument("--rounds", type=int, help="of the whole network (small 7, large 5)")
    parser.add_argument("--batches", help="batch sizes of the curve (1,2,4,8,16; large 1,2,4)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--ablation", action="store_true", help="measure the single tricks instead")
    parser.add_argument("--json", type=Path, help="file for everything measured")
    parser.add_argument("--update", action="store_true", help="keep that file's other parts")
    parser.add_argument("--figure", type=Path, help="picture of time against batch size")
    given = parser.parse_args(arguments)
    given.batch = given.batch or DEFAULT_BATCH[given.size]
    given.batches = given.batches or DEFAULT_BATCHES[given.size]
    given.rounds = given.rounds or DEFAULT_ROUNDS[given.size]
    return given


def _kept(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The results of an earlier run of other parts, to which this one adds.

    Raises:
        UserError: they were measured with other settings.
    """
    if not path.exists():
        return {}
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if kept["settings"] | {"rounds": settings["rounds"]} != settings:
        raise UserError(f"{path} was measured with other settings: leave --update out")
    return kept


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the tables, keeps every round."""
    given = _parse(arguments)
    set_up(given.threads)
    status = Console(stderr=True).status
    settings = {name: getattr(given, name) for name in ("size", "batch", "rounds")}
    settings["threads"] = torch.get_num_threads()
    head = {"settings": settings, "machine": describe_machine()}
    tables: list[str] = []
    try:
        if given.ablation:
            with status("ablation: each trick with and without"):
                results = head | {"ablation": ablation(given.size, given.batch, given.rounds)}
            tables.append(ablation_table(results))
        else:
            kept = _kept(given.json, settings) if given.json and given.update else {}
            found = kept | head | measure(given, status)
            results = {name: found[name] for name in HEADLINES if name in found} | found
            if "memory" in results or "seconds" in results:
                tables += [engine_table([results]), sides_table(results)]
            if "layers" in results:
                tables += [layer_table(results), misses_table(results)]
    except UserError as error:
        sys.exit(f"{error}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    for table in tables:
        console.print(Markdown(table))
    if given.json is not None:
        write(results, given.json)
    if given.figure is not None and "batches" in results:
        draw_batches(results, given.figure)


if __name__ == "__main__":
    main()
