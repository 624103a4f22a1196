"""Turns the results of `benchmarks.engine` into tables and a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.engine_rounds import middle
from benchmarks.engine_sides import CHANNELS_LAST, NCHW, OURS, REFERENCE, TWINS
from benchmarks.measuring import markdown_table

Results = Mapping[str, Any]

TITLES = {
    OURS: "ours",
    NCHW: "torch.nn, NCHW",
    CHANNELS_LAST: "torch.nn, channels last",
    REFERENCE: "reference (im2col)",
}
_COLOURS = {OURS: "#d1495b", NCHW: "#8d99ae", CHANNELS_LAST: "#30638e"}
_UNMEASURED = "–"
_NOTHING_YET = "*Not measured yet.*"

GOAL = 1.0  # no layer should take longer than the better of torch's
SMALL = 0.005  # of the time of all layers


def with_spread(ratio: Mapping[str, Any]) -> str:
    """0.97 (0.95 to 0.99): the median and the quartiles."""
    low, high = ratio["quartiles"]
    return f"{ratio['median']:.2f} ({low:.2f} to {high:.2f})"


def engine_table(results: list[dict[str, Any]]) -> str:
    """One row for each file of results: ours against the better layout of the twin.

    Of several processors that measured the same, the one on which ours is slowest comes first.
    """
    columns = ["network", "processor", "training step", "forward", "peak memory"]
    columns.append("reference engine")
    rows = []
    for each in sorted(results, key=_order):
        ratios, memory = each.get("ratios", {}), each.get("peak_memory_ratio")
        cells = [
            with_spread(ratios[name]) if name in ratios else _UNMEASURED
            for name in ("train_step", "forward")
        ]
        cells.append(_UNMEASURED if memory is None else f"{memory:.2f}")
        slow = ratios.get("reference")
        cells.append(f"{slow['median']:.1f} times ours" if slow else _UNMEASURED)
        rows.append([_name(each), processor(each.get("machine", {})), *cells])
    return markdown_table(columns, rows)


def _order(results: Results) -> tuple[bool, str, float]:
    step = results.get("ratios", {}).get("train_step", {}).get("median", 0.0)
    return results["settings"]["size"] != "small", _name(results), -step


def processor(machine: Mapping[str, Any]) -> str:
    """Such as "AMD EPYC (family 25, model 17)": what a machine says of itself, without marks."""
    name = re.sub(r"\((R|TM)\)|\bProcessor\b", "", machine.get("cpu", "unknown"))
    model = machine.get("cpu_model", "")
    return " ".join(name.split()) + (f" ({model})" if model else "")


def _name(results: Results) -> str:
    settings = results["settings"]
    return f"v4-{settings['size']}, batch {settings['batch']}, {settings['threads']} threads"


def sides_table(results: Results) -> str:
    """Seconds and memory of every side."""
    columns = ["side", "training step, s", "forward, s", "memory growth, MiB"]
    seconds = results.get("seconds", {})
    rows = []
    for side, title in TITLES.items():
        cells = [
            f"{middle(seconds[phase][side]):.3f}" if phase in seconds else _UNMEASURED
            for phase in ("train_step", "forward")
        ]
        grown = results.get("memory", {}).get(side)
        cells.append(f"{grown['growth_mib']:.0f}" if grown else _UNMEASURED)
        rows.append([title, *cells])
    return markdown_table(columns, rows)


def layer_table(results: Results) -> str:
    """Every distinct layer: time of ours over the better torch layout, and GFLOP/s."""
    if "layers" not in results:  # a run of other parts
        return _NOTHING_YET
    columns = ["layer", "times", "forward, ms", "ratio", "GFLOP/s"]
    columns += ["backward, ms", "ratio", "GFLOP/s", "product, GFLOP/s"]
    rows = []
    for row in results["layers"]:
        cells = [row["layer"], str(row["count"])]
        for phase in ("forward", "backward"):
            found = row[phase]
            cells.append(f"{1e3 * middle(found['seconds'][OURS]):.2f}")
            cells.append(f"{found['ratio']['median']:.2f}")
            cells.append(f"{found['gflops'][OURS]:.0f}" if "gflops" in found else _UNMEASURED)
        cells.append(f"{row['gemm_gflops']:.0f}" if "gemm_gflops" in row else _UNMEASURED)
        rows.append(cells)
    settings = results["settings"]
    ceiling = results["gemm_ceiling_gflops"]
    return markdown_table(columns, rows) + (
        f"\n\nBatch {settings['batch']}, {settings['threads']} threads. "
        f"The largest matrix products reach {ceiling:.0f} GFLOP/s here."
    )


def misses_table(results: Results) -> str:
    """Where torch is faster: passes of layers above `GOAL`, the costliest difference first.

    A layer counts as often as it occurs. "Lost" is the time beyond torch's; a share is that of all
    layers together. Passes that lose less than `SMALL` of it are only counted.
    """
    if "layers" not in results:
        return _NOTHING_YET
    whole, won = 0.0, 0.0
    misses: list[tuple[float, float, Results, str]] = []
    for row in results["layers"]:
        for phase in ("forward", "backward"):
            found = row[phase]
            seconds = row["count"] * middle(found["seconds"][OURS])
            lost = seconds - row["count"] * middle(found["seconds"][found["ratio"]["to"]])
            whole += seconds
            if found["ratio"]["median"] > GOAL:
                misses.append((lost, seconds, row, phase))
            else:
                won -= lost
    misses.sort(key=lambda miss: -miss[0])
    columns = ["layer", "times", "pass", "ratio", "ms", "lost, ms", "share, %"]
    columns += ["ours, % of product", "torch, % of product"]
    rows = []
    for lost, seconds, row, phase in misses:
        if lost < SMALL * whole:
            break
        found = row[phase]
        speeds = [_UNMEASURED, _UNMEASURED]
        if "gflops" in found:
            ceiling = row["gemm_gflops"] / 100
            speeds = [f"{found['gflops'][s] / ceiling:.0f}" for s in (OURS, found["ratio"]["to"])]
        rows.append(
            [
                row["layer"],
                str(row["count"]),
                phase,
                f"{found['ratio']['median']:.2f}",
                f"{1e3 * seconds:.1f}",
                f"{1e3 * lost:.1f}",
                f"{100 * seconds / whole:.1f}",
                *speeds,
            ]
        )
    total = sum(lost for lost, *_ in misses)
    return markdown_table(columns, rows) + (
        f"\n\n{len(misses)} of {2 * len(results['layers'])} passes take longer than torch's, "
        f"{1e3 * total:.0f} ms together ({len(misses) - len(rows)} of them lose too little to be "
        f"listed); the others take {1e3 * won:.0f} ms less. "
        f"All layers together take {1e3 * whole:.0f} ms."
    )


def ablation_table(results: Results) -> str:
    """What each trick is worth: the time without it over the time with it."""
    columns = ["trick", "layer", "without it", "with, ms", "without, ms", "times slower without"]
    rows = []
    for row in results["ablation"]:
        times = [f"{row['milliseconds'][name]:.2f}" for name in ("shipped", "without")]
        rows.append([row["trick"], row["layer"], row["without"], *times, with_spread(row["ratio"])])
    settings = results["settings"]
    return markdown_table(columns, rows) + (
        f"\n\nBatch {settings['batch']}, {settings['threads']} threads, "
        f"{results['machine']['cpu']}, torch {results['machine']['packages']['torch']}."
    )


def draw_batches(results: Results, picture: Path) -> None:
    """Time of a training step and of a forward pass against batch size, written whole."""
    settings = results["settings"]
    figure = Figure(figsize=(9.0, 3.6), dpi=100, layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, (phase, title) in zip(
        axes, (("train_step", "training step"), ("forward", "forward pass")), strict=True
    ):
        for side in (OURS, *TWINS):
            sizes = [each["batch"] for each in results["batches"]]
            seconds = [middle(each["seconds"][phase][side]) for each in results["batches"]]
            axis.plot(sizes, seconds, marker="o", color=_COLOURS[side], label=TITLES[side])
        axis.set_title(f"v4-{settings['size']}, {title}")
        axis.set_xlabel("batch size")
        axis.set_xticks([each["batch"] for each in results["batches"]])
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"seconds ({settings['threads']} threads)")
    axes[0].legend()
    picture.parent.mkdir(parents=True, exist_ok=True)
    partial = picture.with_name(f".partial-{picture.name}")
    figure.savefig(partial, metadata={"Software": "audio_denoising"})
    partial.replace(picture)
