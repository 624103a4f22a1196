"""Denoisers beside one another at 16 kHz: file to file and hop by hop, on one thread each.

python -m benchmarks.side_by_side WHO FILE    measures one on one recording, as a line of JSON

`benchmarks.inference` runs it on every version that ships and every peer that is installed. Every
trial is a process of its own, and they take turns in interleaved rounds, so that whatever else the
machine does falls on all alike. File to file: the recording read, cleaned in blocks as long as the
denoiser can take, and written; peers that stream take their hops. Hop by hop: samples at the
denoiser's own rate in, samples out. Seconds are those of the processor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

from audio_denoising.errors import UserError
from audio_denoising.evaluation.judging import MODELS
from audio_denoising.evaluation.peers import PEERS
from benchmarks.measuring import MIB, markdown_table, resident

_HEARD = 10  # seconds that are taken hop by hop

Trial = dict[str, Any]


class Hops(NamedTuple):
    """A denoiser hop by hop: its rate in Hz, its hop and how late it is at most, in samples."""

    rate: int
    hop: int
    latency: int
    step: Callable[[Any], object]


def contestants() -> list[str]:
    """The versions that ship and the peers that are installed."""
    return [*MODELS, *(name for name in PEERS if _runs(name))]


def _runs(peer: str) -> bool:
    try:
        PEERS[peer].clean(np.zeros(1600, np.float32), 16_000)
    except UserError:
        return False
    return True


def load(who: str) -> tuple[Callable[[Path, Path], object], Hops | None]:
    """How a contestant cleans a file, and how it takes hops; None: it wants to hear it all."""
    if who in PEERS:
        peer = PEERS[who]

        def clean(input: Path, output: Path) -> None:
            noisy, rate = soundfile.read(input, dtype="float32")
            soundfile.write(output, peer.clean(noisy, rate), rate)

        peer.clean(np.zeros(1600, np.float32), 16_000)
        if peer.stream is None:
            return clean, None
        fresh = peer.stream()
        latency = fresh.delay + fresh.hop
        return clean, Hops(fresh.rate, fresh.hop, latency, fresh.step)
    import torch

    from audio_denoising.cleaning.causal import CausalCleaner
    from audio_denoising.cleaning.denoiser import Denoiser

    torch.set_num_threads(1)
    denoiser = Denoiser(who, device="cpu")
    denoiser(np.zeros(1600, np.float32), 16_000)  # what the first call has to load is no work
    if not isinstance(denoiser._cleaner, CausalCleaner):
        return denoiser.denoise_file, None
    stream = denoiser._cleaner.open(16_000)
    hop = stream.latency // 2
    return denoiser.denoise_file, Hops(
        16_000, hop, stream.latency, lambda frame: stream.push(frame[None])
    )


def measure(who: str, recording: Path) -> Trial:
    """One contestant on one recording, in this process."""
    start = time.process_time()
    clean, hops = load(who)
    trial: Trial = {"who": who, "load": time.process_time() - start}
    before = resident("VmRSS")
    with TemporaryDirectory() as folder:
        start = time.process_time()
        clean(recording, Path(folder) / "clean.wav")
        seconds = soundfile.info(recording).duration
        trial["file"] = (time.process_time() - start) / seconds
    trial["memory_mb"] = (resident("VmHWM") - before) * MIB / 1e6
    if hops is not None:
        samples, rate = soundfile.read(recording, dtype="float32", frames=_HEARD * 16_000)
        heard = np.asarray(soxr.resample(samples, rate, hops.rate), np.float32)
        frames = heard[: heard.size // hops.hop * hops.hop].reshape(-1, hops.hop)
        hops.step(frames[0])
        start = time.process_time()
        for frame in frames[1:]:
            hops.step(frame)
        trial["hop_ms"] = 1000 * hops.hop / hops.rate
        trial["hop_work_ms"] = 1000 * (time.process_time() - start) / (len(frames) - 1)
        trial["latency_ms"] = 1000 * hops.latency / hops.rate
    return trial


def trials(who: Sequence[str], recording: Path, rounds: int) -> Iterator[Trial]:
    """Each contestant in turn, round after round, in processes of one thread.

    Raises:
        subprocess.CalledProcessError: a process failed; its message is on stderr.
    """
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    limits = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    for turn in range(rounds):
        shift = turn % len(who)
        for name in (*who[shift:], *who[:shift]):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.side_by_side", name, str(recording)],
                check=True,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path, **limits},
            )
            yield json.loads(done.stdout)


def medians(found: Sequence[Trial]) -> list[Trial]:
    """A row for every contestant: the medians of its rounds."""
    names = dict.fromkeys(trial["who"] for trial in found)
    rows = []
    for name in names:
        same = [trial for trial in found if trial["who"] == name]
        rows.append(
            {"who": name} | {key: median(t[key] for t in same) for key in same[0] if key != "who"}
        )
    return rows


def side_by_side_table(rows: Sequence[Trial], seconds: int) -> str:
    """The rows of `medians` as a table."""
    columns = ["", "file, time / sound", "hop, ms", "work for a hop, ms", "hop, time / sound"]
    cells = [
        [
            row["who"],
            f"{row['file']:.3f}",
            *(
                (f"{row['hop_ms']:.1f}", f"{row['hop_work_ms']:.2f}",
                 f"{row['hop_work_ms'] / row['hop_ms']:.3f}", f"{row['latency_ms']:.0f}")
                if "hop_ms" in row
                else ("", "", "", "all")
            ),
            f"{row['memory_mb']:.0f}",
        ]
        for row in rows
    ]  # fmt: skip
    return markdown_table([*columns, "latency, ms", "memory, MB"], cells) + (
        f"\n\n{seconds} s of 16 kHz mono, processor time of one thread, once all is loaded; memory "
        "is the peak of file to file above that. RNNoise and DeepFilterNet3 work at 48 kHz, so "
        "file to file they are resampled there and back."
    )


def main() -> None:
    """Prints the measurement of one contestant as a line of JSON."""
    who, recording = sys.argv[1:]
    try:
        print(json.dumps(measure(who, Path(recording))))
    except UserError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
