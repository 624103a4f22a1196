"""What the benchmarks share: the machine, memory, rounds, fresh processes, and how to report.

A machine is never quiet: its clock, its other guests and its caches change over seconds. So ways of
doing the same are measured in rounds: one round measures every contestant once, next to each other
and in an order that rotates; the ratio of two is taken within each round, and the median of those
ratios is reported with its quartiles.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.markdown import Markdown
from torch import Tensor

from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.evaluation.results import write_json
from audio_denoising.machine import cpu_field, versions
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.library import load_bank
from audio_denoising.mixing.recipe import PRESETS

MIB = 2**20
CORPUS = Path(__file__).resolve().parent.parent / "tests" / "data"
_STATUS = Path("/proc/self/status")
_PRODUCT_UNITS = ("avx2", "avx512f")  # for products of float32, as Linux names them
_PACKAGES = ("audio-denoising", "torch", "numpy", "soundfile", "soxr", "av")
_PRELOADED = [
    f"audio_denoising.{name}" for name in ("cli.app", "training.trainer", "cleaning.denoiser")
]
_WIDE = 140  # characters, where the output goes to no terminal


Seconds = dict[str, float]
Trial = Callable[[], Seconds]  # runs once; says how long each of its phases took
Series = dict[str, list[float | None]]  # contestant -> seconds in each round, None where it sat out

BRIEF = 0.03  # seconds; a shorter trial is repeated within its round and averaged
FEW = 3  # rounds that a slow contestant takes part in


def describe_machine() -> dict[str, Any]:
    """Processor, cores, threads and the versions of what took part."""
    flags = cpu_field("flags").split()
    family, model = cpu_field("cpu family"), cpu_field("model")
    description: dict[str, Any] = {
        "cpu": cpu_field("model name") or platform.processor() or platform.machine(),
        "cpu_model": f"family {family}, model {model}" if family else "",
        "product_units": {name: name in flags for name in _PRODUCT_UNITS},
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": versions(_PACKAGES),
    }
    if torch.cuda.is_available():
        description["gpu"] = torch.cuda.get_device_name()
    return description


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (largest so far) of this process in MiB.

    From /proc rather than from getrusage: on Linux that starts from what the *parent* process
    held. Elsewhere getrusage has to do.
    """
    if _STATUS.exists():
        match = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
        if match:
            return int(match[1]) * 1024 / MIB
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (MIB if sys.platform == "darwin" else 1024)


def real_mixtures(batch: int, samples: int) -> tuple[Tensor, Tensor]:
    """(noisy, clean) waveforms (N, L) of real noisy speech, the same at every call."""
    speech, noise = index_speech(CORPUS / "LibriSpeech"), index_noise(CORPUS / "noise")
    mixer = Mixer(load_bank(speech), load_bank(noise), PRESETS["original"], seed=0)
    return mixer.batch(0, batch, samples)


def growth(make_step: Callable[[], Callable[[], object]]) -> float:
    """MiB by which this process grows in three steps: weights, gradients, activations and all."""
    warm = torch.rand(512, 512)
    torch.nn.functional.conv2d((warm @ warm)[None, None], warm[None, None, :3, :3])  # libraries
    torch.fft.rfft(warm)
    gc.collect()
    before = resident("VmRSS")
    step = make_step()
    for _ in range(3):
        step()
    return resident("VmHWM") - before


def in_fresh_process(call: Callable[..., Any], *arguments: Any, threads: int) -> Any:
    """What a call returns in a process that has done nothing else, and computes on so many threads.

    The call and what it is given have to be such as can be pickled; what it raises is raised here.
    """
    counts = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    fresh = multiprocessing.get_context("spawn")
    with (
        patch.dict(os.environ, counts),
        ProcessPoolExecutor(1, fresh, torch.set_num_threads, (threads,)) as pool,
    ):
        return pool.submit(call, *arguments).result()


def _path() -> str:
    """Where this process finds its modules."""
    return os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)


def ready() -> ForkServerContext:
    """Makes processes that need not load torch: forks of one that has, and has computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with patch.dict(os.environ, PYTHONPATH=_path()):  # or it might load a copy installed earlier
        forkserver.ensure_running()
    return context


def set_up(threads: int | None) -> None:
    """Threads, and denormal numbers flushed to zero, for the process that measures.

    The gradient behind a saturated sigmoid is a product of tiny numbers, and processors handle
    numbers below 1e-38 (denormals) in microcode, some hundred times slower. Every side suffers as
    soon as the network is sure of itself, so training flushes them, and so does every side here.
    The threads inherit the setting when they are started: it comes before any arithmetic.
    """
    torch.set_flush_denormal(True)
    if threads:
        torch.set_num_threads(threads)


def timed(phase: str, call: Callable[[], object]) -> Trial:
    """A trial of one phase: how long `call` takes."""

    def trial() -> Seconds:
        start = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - start
        del result  # freeing the result is not part of the time
        return {phase: seconds}

    return trial


def interleaved(
    trials: Mapping[str, Trial],
    rounds: int,
    slow: Collection[str] = (),
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Series]:
    """Runs every trial once in each round, after a warm-up that is not counted.

    Args:
        trials: contestant -> trial; all report the same phases.
        rounds: how many. slow: contestants that take part in only `FEW` of them, spread evenly.
        advance: called after each round, for a progress display.

    Returns:
        phase -> contestant -> seconds in each round.
    """
    names = list(trials)
    repeats = {}
    for name, trial in trials.items():
        took = sum(trial().values())  # the first call also allocates, compiles and fills caches
        if took < 10 * BRIEF:
            took = sum(trial().values())
        repeats[name] = max(1, min(100, math.ceil(BRIEF / max(1e-9, took))))
    few = {round(i * (rounds - 1) / (FEW - 1)) for i in range(FEW)}
    results: dict[str, Series] = {}
    for number in range(rounds):
        turn = number % len(names)
        taken: dict[str, Seconds] = {}
        for name in names[turn:] + names[:turn]:
            if name in slow and number not in few:
                continue
            runs = [trials[name]() for _ in range(repeats[name])]
            taken[name] = {phase: sum(r[phase] for r in runs) / len(runs) for phase in runs[0]}
        for phase in taken[names[0]]:
            series = results.setdefault(phase, {name: [] for name in names})
            for name in names:
                series[name].append(taken[name][phase] if name in taken else None)
        advance()
    return results


def middle(values: list[float | None]) -> float:
    """The median of the rounds that were run."""
    return median(value for value in values if value is not None)


def better(series: Series, names: Collection[str]) -> str:
    """The contestant among `names` with the smallest median time."""
    return min(names, key=lambda name: middle(series[name]))


def ratio(series: Series, over: str, under: str) -> dict[str, Any]:
    """Time of `over` divided by time of `under`: median and quartiles of the ratios of each round.

    Only rounds that both took part in count.
    """
    pairs = zip(series[over], series[under], strict=True)
    ratios = [a / b for a, b in pairs if a is not None and b is not None]
    low, mid, high = quantiles(ratios, n=4, method="inclusive") if ratios[1:] else ratios * 3
    return {"of": over, "to": under, "median": mid, "quartiles": [low, high], "rounds": len(ratios)}


def with_spread(ratio: Mapping[str, Any]) -> str:
    """0.97 (0.95 to 0.99): the median and the quartiles."""
    low, high = ratio["quartiles"]
    return f"{ratio['median']:.2f} ({low:.2f} to {high:.2f})"


def markdown_table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; a column of nothing but numbers and blanks is aligned to the right."""
    number = re.compile(r"(\*\*)?-?[\d.]*(\*\*)?")
    numeric = [all(number.fullmatch(row[i]) for row in rows) for i in range(len(columns))]
    rule = ["---:" if right else "---" for right in numeric]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (columns, rule, *rows))


def report(results: dict[str, Any], path: Path | None, *tables: str) -> None:
    """Prints the tables; keeps the results as JSON where there is a path."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    for table in tables:
        console.print(Markdown(table))
    if path is not None:
        write(results, path)


def write(results: dict[str, Any], path: Path) -> None:
    """Writes results as JSON, whole or not at all, a list's entry a line."""
    write_json(_rounded(results), path)


def _rounded(value: Any) -> Any:
    """Five digits are more than a clock is worth."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
