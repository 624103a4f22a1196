"""How long denoising a file takes and how much memory, from seconds to an hour, beside noisereduce.

python -m benchmarks.inference [--model v4] [--seconds 10 60 600 3600] [--threads 1 2] [--rounds 3]
    [--alike 60] [--json PATH] [--figure PATH]

The recordings are examples/noisy_street.wav over and over, as 48 kHz stereo in 16 bits. Every
measurement is a process of its own (`inference_trial`). Up to a minute the contestants run in turn
in interleaved rounds, longer recordings once; beyond ten minutes only ours runs, with the first
number of threads. Points that the JSON file holds already, of the same model and machine, stay in
it unless they are measured anew, so a long series can be measured in parts.

Then every version that ships and every peer that is installed clean the example as it is, 16 kHz
mono, on one thread each (`side_by_side`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
from rich.console import Console
from rich.markdown import Markdown

from audio_denoising.dsp.resampling import resample
from audio_denoising.media.reading import read_audio
from benchmarks import side_by_side
from benchmarks.engine import WIDE
from benchmarks.inference_report import draw, inference_table
from benchmarks.inference_trial import OURS, PEERS, measure_in_fresh_process
from benchmarks.measuring import MIB, describe_machine, write

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "noisy_street.wav"
RATE, CHANNELS = 48_000, 2
REPEATED = 60  # seconds; longer recordings are measured once
SHARED = 600  # seconds; longer ones are measured with ours and the first number of threads alone

Point = tuple[str, int, int]
"""Contestant, threads, seconds of sound."""


def make_alike(path: Path, seconds: int) -> Path:
    """Writes so many seconds of the example over and over, 16 kHz mono."""
    mono, rate = read_audio(EXAMPLE)
    soundfile.write(path, np.resize(mono[0], seconds * rate), rate, "PCM_16")
    return path


def make_recording(path: Path, seconds: int) -> Path:
    """Writes so many seconds of the example, upsampled; its channels are half a period apart."""
    mono, rate = read_audio(EXAMPLE)
    period = resample(mono, rate, RATE)[0]
    stereo = np.stack((period, np.roll(period, period.size // CHANNELS)), axis=1)
    left = seconds * RATE
    with soundfile.SoundFile(path, "w", RATE, CHANNELS, "PCM_16") as file:
        while left > 0:
            file.write(stereo[:left])
            left -= len(stereo)
    return path


def plan(seconds: list[int], threads: list[int], rounds: int, peers: bool) -> Iterator[list[Point]]:
    """The points to measure next to each other, in an order that rotates from round to round."""
    for length in sorted(seconds):
        if length > SHARED:
            yield [(OURS, threads[0], length)]
            continue
        points: list[Point] = [(OURS, count, length) for count in threads]
        if peers:
            points += [(peer, threads[0], length) for peer in PEERS]
        for turn in range(rounds if length <= REPEATED else 1):
            turn %= len(points)
            yield points[turn:] + points[:turn]


def measure(given: argparse.Namespace, folder: Path, console: Console) -> list[dict[str, Any]]:
    """Every trial: its point, what it took, and the load of the machine when it began."""
    peers = find_spec("noisereduce") is not None
    if not peers:
        console.print("noisereduce is not installed, so ours runs alone")
    trials = []
    recording = folder / "noisy.wav"
    written = 0
    for points in plan(given.seconds, given.threads, given.rounds, peers):
        for side, threads, seconds in points:
            if seconds != written:
                make_recording(recording, seconds)
                written = seconds
            load = os.getloadavg()[0]
            with tempfile.TemporaryDirectory(dir=folder) as outputs:
                output = Path(outputs) / "clean.wav"
                found = measure_in_fresh_process(side, given.model, threads, recording, output)
            point = {"side": side, "threads": threads, "seconds": seconds, "load": load}
            trials.append(point | found)
            console.print(
                f"{side}, {threads} threads, {seconds} s: {found['elapsed']:.1f} s elapsed, "
                f"{found['processor']:.1f} s of processor, {found['growth_mib']:.0f} MiB"
            )
    return trials


def point_of(trial: dict[str, Any]) -> Point:
    """Where a trial belongs."""
    return trial["side"], trial["threads"], trial["seconds"]


def kept(path: Path | None, results: dict[str, Any]) -> list[dict[str, Any]]:
    """The trials of an earlier run on the same machine, less the points measured anew."""
    if path is None or not path.exists():
        return []
    earlier = json.loads(path.read_text(encoding="utf-8"))
    if any(earlier[name] != results[name] for name in ("model", "machine")):
        return []
    anew = {point_of(trial) for trial in results["trials"]}
    return [trial for trial in earlier["trials"] if point_of(trial) not in anew]


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of every point, medians of its rounds.

    ``rtf`` is seconds elapsed for a second of sound, ``processor_rtf`` seconds of processor, and
    ``memory_mb`` is in MB (10^6 bytes) above what was loaded; each is threads -> seconds -> figure,
    those of the peers gating -> seconds -> figure. ``memory_growth`` is the memory of the longest
    recording over that of the one before.
    """
    points = sorted({point_of(trial) for trial in trials}, key=lambda point: point[1:])

    def figures(of: str, ours: bool) -> dict[str, dict[str, float]]:
        table: dict[str, dict[str, float]] = {}
        for side, threads, seconds in points:
            if (side == OURS) == ours:
                row = table.setdefault(str(threads) if ours else side, {})
                same = [trial for trial in trials if point_of(trial) == (side, threads, seconds)]
                if of == "memory":
                    row[str(seconds)] = median(t["growth_mib"] for t in same) * MIB / 1e6
                else:
                    row[str(seconds)] = median(trial[of] for trial in same) / seconds
        return table

    memory = figures("memory", ours=True)
    series = list(max(memory.values(), key=lambda row: max(map(int, row))).values())
    return {
        "rtf": figures("elapsed", ours=True),
        "processor_rtf": figures("processor", ours=True),
        "memory_mb": memory,
        "memory_growth": series[-1] / series[-2] if series[1:] else None,
        "peer_rtf": figures("elapsed", ours=False),
        "peer_processor_rtf": figures("processor", ours=False),
        "peer_memory_mb": figures("memory", ours=False),
    }


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="v4", help="a shipped version, or a checkpoint")
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60, 600, 3600])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3, help=f"up to {REPEATED} s of sound")
    parser.add_argument("--alike", type=int, default=60, help="seconds for all alike; 0: not")
    parser.add_argument("--json", type=Path, help="file for everything measured")
    parser.add_argument("--figure", type=Path, help="picture of time and memory")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the table, keeps every trial."""
    given = _parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        try:
            trials = measure(given, Path(folder), Console(stderr=True))
            alike = []
            if given.alike:
                recording = make_alike(Path(folder) / "alike.wav", given.alike)
                who = side_by_side.contestants()
                alike = list(side_by_side.trials(who, recording, given.rounds))
        except subprocess.CalledProcessError as error:  # it has said why
            sys.exit(error.returncode)
    results = {"model": given.model, "machine": describe_machine(), "trials": trials}
    trials = sorted(trials + kept(given.json, results), key=lambda t: (t["seconds"], t["side"]))
    results = {**summary(trials), **results, "trials": trials}
    if alike:
        rows = side_by_side.medians(alike)
        results |= {"alike": rows, "alike_seconds": given.alike, "alike_trials": alike}
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(Markdown(inference_table(results)))
    if given.figure is not None:
        draw(results, given.figure)
    if given.json is not None:
        write(results, given.json)


if __name__ == "__main__":
    main()
