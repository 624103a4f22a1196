"""How long denoising takes and how much memory: long recordings, and everybody side by side.

python -m benchmarks.inference [--model v4 v5] [--seconds 10 60 600 3600] [--threads 1 2]
    [--alike 60] [--rounds 3] [--json PATH]

First recordings of those lengths, the example over and over as 48 kHz stereo, beside spectral
gating by ``noisereduce`` (Sainburg and Zorea, 2024) with its defaults, on the whole recording as
its documentation shows. Then ``--alike`` seconds of the example as it is, 16 kHz mono, for every
version that ships and every peer that is installed: file to file, and hop by hop for those that
stream. Either set is left out with 0 seconds.

Every trial is a process of its own. Loading comes first; what follows is what a user waits for: the
file read, cleaned and written. Memory is the largest resident set of that time above the one
before. Contestants take turns, in rounds whose order rotates; recordings of more than a minute are
measured once, and those beyond ten minutes with networks and the first number of threads alone.
Trials that the JSON file holds already stay in it unless their points are measured anew, so a long
series can be measured in parts, each with the machine that it was measured on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import soundfile
from rich.console import Console

from audio_denoising.dsp.resampling import resample
from audio_denoising.errors import UserError
from audio_denoising.evaluation.judging import MODELS
from audio_denoising.evaluation.peers import PEERS, PeerStream
from audio_denoising.media.reading import read_audio
from audio_denoising.models.versions import DEFAULT, VERSIONS
from benchmarks.measuring import MIB, describe_machine, in_fresh_process, markdown_table, report
from benchmarks.measuring import resident as memory

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "noisy_street.wav"
GATING = ("noisereduce, non-stationary", "noisereduce, stationary")
LONG_RATE, ALIKE_RATE = 48_000, 16_000
REPEATED = 60  # seconds; longer recordings are measured once
SHARED = 600  # seconds; longer ones are for networks and the first number of threads alone
HEARD = 30  # seconds that are taken hop by hop
RARE = 0.999  # of the hops take less

Trial = dict[str, Any]


class Point(NamedTuple):
    """What is measured: who, on how many threads, on a recording of this rate and length."""

    who: str
    threads: int
    rate: int
    seconds: int


class Hops(NamedTuple):
    """A denoiser hop by hop: its rate in Hz, its hop and how late it is at most, in samples."""

    rate: int
    hop: int
    latency: int
    step: Callable[[Any], object]


def load(who: str) -> tuple[Callable[[Path, Path], object], Hops | None]:
    """How a contestant cleans a file, and how it takes hops; None: it wants to hear it all."""
    if who in GATING:
        import noisereduce

        return partial(_array_by_array, partial(
            noisereduce.reduce_noise, stationary=who == GATING[1])), None  # fmt: skip
    if who in PEERS:
        peer = PEERS[who]
        peer.clean(np.zeros(1600, np.float32), ALIKE_RATE)  # what it has to load is no work
        clean = partial(_array_by_array, lambda y, sr: peer.clean(y, sr))
        if not issubclass(peer, PeerStream):
            return clean, None
        fresh = peer()
        return clean, Hops(fresh.rate, fresh.hop, fresh.delay + fresh.hop, fresh.step)
    from audio_denoising.cleaning.denoiser import Denoiser

    denoiser = Denoiser(who, device="cpu")
    denoiser(np.zeros(1600, np.float32), ALIKE_RATE)
    try:
        stream = denoiser.stream(ALIKE_RATE)
    except UserError:  # it hears windows
        return denoiser.denoise_file, None
    return denoiser.denoise_file, Hops(ALIKE_RATE, stream.latency // 2, stream.latency, stream.push)


def _array_by_array(clean: Callable[..., Any], input: Path, output: Path) -> None:
    noisy, rate = soundfile.read(input, dtype="float32")
    soundfile.write(output, clean(y=noisy.T, sr=rate).T, rate)


def measure(who: str, recording: Path) -> Trial:
    """One contestant on one recording, in this process.

    Seconds, elapsed and of the processor: the latter hardly depend on what else the machine does.
    """
    start = time.perf_counter(), time.process_time()
    clean, hops = load(who)
    loaded = time.perf_counter(), time.process_time()
    before = memory("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        clean(recording, Path(folder) / "clean.wav")
    end = time.perf_counter(), time.process_time()
    trial = {
        "load_elapsed": loaded[0] - start[0],
        "load_processor": loaded[1] - start[1],
        "elapsed": end[0] - loaded[0],
        "processor": end[1] - loaded[1],
        "before_mib": before,
        "growth_mib": memory("VmHWM") - before,
    }
    about = soundfile.info(recording)
    if hops is None or about.samplerate != ALIKE_RATE:
        return trial
    samples = soundfile.read(recording, dtype="float32", frames=HEARD * ALIKE_RATE)[0]
    heard = resample(samples[None], ALIKE_RATE, hops.rate)[0]
    frames = heard[: heard.size // hops.hop * hops.hop].reshape(-1, hops.hop)
    hops.step(frames[0])
    marks = [time.process_time()]
    for frame in frames[1:]:
        hops.step(frame)
        marks.append(time.process_time())
    work = 1000 * np.diff(marks)
    return trial | {
        "hop_ms": 1000 * hops.hop / hops.rate,
        "hop_work_ms": float(work.mean()),
        "hop_worst_ms": float(np.quantile(work, RARE)),
        "latency_ms": 1000 * hops.latency / hops.rate,
    }


def make_recording(path: Path, rate: int, seconds: int) -> Path:
    """Writes so many seconds of the example over and over, in 16 bits.

    At 16 kHz it is the example as it is; at 48 kHz stereo, its channels half a period apart.
    """
    mono, example_rate = read_audio(EXAMPLE)
    period = mono.T
    if rate == LONG_RATE:
        longer = resample(mono, example_rate, rate)[0]
        period = np.stack((longer, np.roll(longer, longer.size // 2)), axis=1)
    left = seconds * rate
    with soundfile.SoundFile(path, "w", rate, period.shape[1], "PCM_16") as file:
        while left > 0:
            file.write(period[:left])
            left -= len(period)
    return path


def contestants() -> list[str]:
    """The versions that ship and the peers that are installed."""
    return [*MODELS, *(name for name in PEERS if _runs(name))]


def _runs(peer: str) -> bool:
    try:
        PEERS[peer].clean(np.zeros(1600, np.float32), ALIKE_RATE)
    except UserError:
        return False
    return True


def plan(
    models: Sequence[str], seconds: Sequence[int], threads: Sequence[int], gating: Sequence[str]
) -> Iterator[list[Point]]:
    """The points of each length, to be measured in turns; the causal network knows one thread."""
    for length in sorted(seconds):
        many, others = (threads[:1], ()) if length > SHARED else (threads, gating)
        yield [
            *(
                Point(name, n, LONG_RATE, length)
                for name in models
                for n in (many if name not in VERSIONS or VERSIONS[name].plan else threads[:1])
            ),
            *(Point(name, 1, LONG_RATE, length) for name in others),  # it knows no threads
        ]


def take_turns(points: Sequence[Point], rounds: int, folder: Path) -> Iterator[Trial]:
    """Every point, round after round; all of one recording, which longer than a minute is once."""
    recording = make_recording(folder / "noisy.wav", points[0].rate, points[0].seconds)
    for turn in range(rounds if points[0].seconds <= REPEATED else 1):
        shift = turn % len(points)
        for point in (*points[shift:], *points[:shift]):
            load = os.getloadavg()[0]
            arguments = (point.who, recording)
            found = in_fresh_process(measure, *arguments, threads=point.threads)
            yield point._asdict() | {"load": load} | found


def point_of(trial: Trial) -> Point:
    """Where a trial belongs."""
    return Point(*(trial[name] for name in Point._fields))


def merged(path: Path | None, trials: list[Trial], machine: dict[str, Any]) -> dict[str, Any]:
    """The results with the trials of earlier runs, less the points that were measured anew."""
    here = f"{machine['cpu']}, {machine['cores']} processors"
    trials = [trial | {"machine": here} for trial in trials]
    machines = {here: machine}
    if path is not None and path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        anew = {point_of(trial) for trial in trials}
        trials += [trial for trial in earlier["trials"] if point_of(trial) not in anew]
        machines = earlier["machines"] | machines
    used = {trial["machine"] for trial in trials}
    order = list(dict.fromkeys((DEFAULT, *MODELS, *GATING, *PEERS)))
    trials.sort(key=lambda t: (t["rate"], [*order, t["who"]].index(t["who"]), *point_of(t)[1:]))
    return {"machines": {k: v for k, v in machines.items() if k in used}, "trials": trials}


def rows_of(results: dict[str, Any], rate: int) -> list[Trial]:
    """The points of recordings with one rate, each figure the median of its rounds."""
    trials = [trial for trial in results["trials"] if trial["rate"] == rate]
    rows = []
    for point in dict.fromkeys(map(point_of, trials)):
        same = [trial for trial in trials if point_of(trial) == point]
        figures = {k: median(t[k] for t in same) for k, v in same[0].items() if k == "load" or (
            k not in point._fields and isinstance(v, float))}  # fmt: skip
        mb = figures["growth_mib"] * MIB / 1e6
        rows.append(point._asdict() | figures | {"memory_mb": mb, "title": title(point)})
    return rows


def title(point: Point) -> str:
    """Who and, for a network, on how many threads."""
    if point.who in GATING:
        return point.who
    return f"{point.who}, {point.threads} thread{'s' if point.threads != 1 else ''}"


def inference_table(results: dict[str, Any]) -> str:
    """A row for every contestant and length; then all of them alike, where that was measured."""
    parts = [
        table(results) for rate, table in ((LONG_RATE, _long_table), (ALIKE_RATE, _alike_table))
        if any(trial["rate"] == rate for trial in results["trials"])
    ]  # fmt: skip
    if len(results["machines"]) > 1:
        who = {
            name: ", ".join(dict.fromkeys(
                f"{t['who']} ({duration(t['seconds'])})" for t in results["trials"]
                if t["machine"] == name))
            for name in results["machines"]
        }  # fmt: skip
        parts.append("; ".join(f"{names}: {machine}" for machine, names in who.items()) + ".")
    return "\n\n".join(parts)


def _long_table(results: dict[str, Any]) -> str:
    rows = rows_of(results, LONG_RATE)
    columns = ["", "sound", "time / sound", "processor time / sound", "memory, MB"]
    cells = [
        [
            row["title"],
            duration(row["seconds"]),
            f"{row['elapsed'] / row['seconds']:.3f}",
            f"{row['processor'] / row['seconds']:.3f}",
            f"{row['memory_mb']:.0f}",
        ]
        for row in rows
    ]
    longest = max((row["seconds"] for row in rows if row["who"] in GATING), default=0)
    loads = [trial["load"] for trial in results["trials"] if trial["rate"] == LONG_RATE]
    cores = max(machine["cores"] for machine in results["machines"].values())
    gating = f" noisereduce holds all of a recording; it was tried up to {duration(longest)}."
    return markdown_table(columns, cells) + (
        f"\n\n48 kHz stereo, from file to file, once the weights and the code are loaded; memory "
        f"is the peak above that. Other work on the machine (load {min(loads):.0f} to "
        f"{max(loads):.0f} on {cores} processors) lengthens the time, but "
        f"hardly the processor time of one thread, which is what it would take alone."
        f"{gating if longest else ''}"
    )


def _alike_table(results: dict[str, Any]) -> str:
    rows = rows_of(results, ALIKE_RATE)
    columns = ["", "file, time / sound", "hop, ms", "work for a hop, ms", "99.9 % of hops, ms"]
    columns += ["hop, time / sound", "latency, ms", "memory, MB"]
    cells = [
        [
            row["who"],
            f"{row['processor'] / row['seconds']:.3f}",
            *(
                (f"{row['hop_ms']:.1f}", f"{row['hop_work_ms']:.2f}",
                 f"{row['hop_worst_ms']:.2f}", f"{row['hop_work_ms'] / row['hop_ms']:.3f}",
                 f"{row['latency_ms']:.0f}")
                if "hop_ms" in row
                else ("", "", "", "", "all")
            ),
            f"{row['memory_mb']:.0f}",
        ]
        for row in rows
    ]  # fmt: skip
    return markdown_table(columns, cells) + (
        f"\n\n{rows[0]['seconds']} s of 16 kHz mono, processor time of one thread, once all is "
        "loaded; memory is the peak of file to file above that. RNNoise and DeepFilterNet3 work at "
        "48 kHz, so file to file they are resampled there and back."
    )


def duration(seconds: int) -> str:
    """10 s, 10 min or 1 h."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the tables, keeps every trial."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["v4", "v5"], help="versions, checkpoints")
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60, 600, 3600])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--alike", type=int, default=60, help="seconds for all alike")
    parser.add_argument("--rounds", type=int, default=3, help=f"up to {REPEATED} s of sound")
    parser.add_argument("--json", type=Path, help="file for everything measured")
    given = parser.parse_args(arguments)
    try:
        gating = GATING if find_spec("noisereduce") else ()
        sets = list(plan(given.model, list(filter(None, given.seconds)), given.threads, gating))
        if given.alike:
            sets.append([Point(who, 1, ALIKE_RATE, given.alike) for who in contestants()])
        console, trials = Console(stderr=True), []
        with tempfile.TemporaryDirectory() as folder:
            for points in sets:
                for trial in take_turns(points, given.rounds, Path(folder)):
                    took = f"{trial['elapsed']:.1f} s, {trial['growth_mib']:.0f} MiB"
                    console.print(f"{title(point_of(trial))}, {trial['seconds']} s: {took}")
                    trials.append(trial)
    except UserError as error:
        sys.exit(f"{error}")
    results = merged(given.json, trials, describe_machine())
    report(results, given.json, inference_table(results))


if __name__ == "__main__":
    main()
