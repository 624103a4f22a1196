"""Turns the results of `benchmarks.inference` into a table and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.measuring import markdown_table
from benchmarks.side_by_side import side_by_side_table

Results = Mapping[str, Any]
Figures = Mapping[str, float]  # seconds of sound -> figure

_COLOURS = ("#d1495b", "#8f2d56", "#edae49")  # ours, by number of threads
_PEER_COLOURS = ("#8d99ae", "#30638e")
_TIME_TICKS = (0.03, 0.1, 0.3, 1.0)


def inference_table(results: Results) -> str:
    """A row for every contestant and length; then all of them alike, where that was measured."""
    columns = ["", "sound", "time / sound", "processor time / sound", "memory, MB"]
    rows = [
        [
            title,
            duration(int(seconds)),
            f"{elapsed[seconds]:.3f}",
            f"{processor[seconds]:.3f}",
            f"{memory[seconds]:.0f}",
        ]
        for title, _, elapsed, processor, memory in _contestants(results)
        for seconds in elapsed
    ]
    loads = [trial["load"] for trial in results["trials"]]
    alike = results.get("alike")
    longest = max((int(each) for row in results["peer_rtf"].values() for each in row), default=0)
    peer = f" noisereduce holds all of a recording; it was tried up to {duration(longest)}."
    return markdown_table(columns, rows) + (
        f"\n\n48 kHz stereo, from file to file, once the weights and the code are loaded; memory "
        f"is the peak above that. Other work on the machine (load {min(loads):.0f} to "
        f"{max(loads):.0f} on {results['machine']['cores']} processors) lengthens the time, but "
        f"hardly the processor time of one thread, which is what it would take alone."
        f"{peer if longest else ''}"
        + (f"\n\n{side_by_side_table(alike, results['alike_seconds'])}" if alike else "")
    )


def draw(results: Results, picture: Path) -> None:
    """Time and memory against the length of the recording, written whole."""
    figure = Figure(figsize=(9.6, 3.9), dpi=100, layout="constrained")
    time, space = figure.subplots(1, 2)
    lengths: set[int] = set()
    for title, colour, elapsed, processor, memory in _contestants(results):
        for axes, figures, style in (
            (time, elapsed, "--"),
            (time, processor, "-"),
            (space, memory, "-"),
        ):
            seconds = [int(each) for each in figures]
            lengths |= set(seconds)
            label = title if style == "-" else None
            axes.plot(
                seconds, list(figures.values()), style, marker="o", ms=4, c=colour, label=label
            )
    time.axhline(1.0, color="black", lw=1, ls=":", label="real time")
    time.set_title("time for a second of sound")
    time.set(yscale="log", ylabel="seconds of processor (dashed: elapsed)")
    time.set_yticks(_TIME_TICKS, [f"{each:g}" for each in _TIME_TICKS])
    space.set_title("peak memory above the loaded model")
    space.set(ylim=(0, None), ylabel="MB")
    for axes in (time, space):
        axes.set(xscale="log", xlabel="length of the recording, 48 kHz stereo")
        axes.set_xticks(sorted(lengths), [duration(each) for each in sorted(lengths)])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    picture.parent.mkdir(parents=True, exist_ok=True)
    partial = picture.with_name(f".partial-{picture.name}")
    figure.savefig(partial, metadata={"Software": "audio_denoising"})
    partial.replace(picture)


def duration(seconds: int) -> str:
    """10 s, 10 min or 1 h."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _contestants(results: Results) -> Iterator[tuple[str, str, Figures, Figures, Figures]]:
    """Title, colour, time, processor time and memory of each."""
    for number, threads in enumerate(results["rtf"]):
        title = f"{results['model']}, {threads} thread{'s' if threads != '1' else ''}"
        colour = _COLOURS[number % len(_COLOURS)]
        yield title, colour, *(results[n][threads] for n in ("rtf", "processor_rtf", "memory_mb"))
    names = ("peer_rtf", "peer_processor_rtf", "peer_memory_mb")
    for gating, colour in zip(results["peer_rtf"], _PEER_COLOURS, strict=False):
        yield f"noisereduce, {gating}", colour, *(results[name][gating] for name in names)
