"""What the benchmarks share: the machine, memory, trials in fresh processes, and how to report."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markdown import Markdown

from audio_denoising.evaluation.results import write_json
from audio_denoising.machine import cpu_field, versions

MIB = 2**20
_STATUS = Path("/proc/self/status")
_PRODUCT_UNITS = ("avx2", "avx512f")  # for products of float32, as Linux names them
_PACKAGES = ("audio-denoising", "torch", "numpy", "soundfile", "soxr", "av")
_WIDE = 140  # characters, where the output goes to no terminal


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


def in_fresh_process(module: str, arguments: Sequence[object], threads: int | None = None) -> Any:
    """Runs a module in a process that has done nothing else, with so many threads.

    Returns:
        What it printed, read as JSON.

    Raises:
        subprocess.CalledProcessError: it failed; its message is on stderr.
    """
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    names = ("OMP", "MKL", "OPENBLAS") if threads else ()
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, **{f"{n}_NUM_THREADS": str(threads) for n in names}},
    )
    return json.loads(done.stdout)


def markdown_table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; a column of nothing but numbers and blanks is aligned to the right."""
    numeric = [all(re.fullmatch(r"-?[\d.]*", row[i]) for row in rows) for i in range(len(columns))]
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
