"""One recording denoised by one contestant, in a process of its own: how long, and in what memory.

python -m benchmarks.inference_trial --side ours --threads 1 --input FILE --output FILE

Loading comes first and is told apart. What follows is what a user waits for: the file read, cleaned
and written. Memory is the largest resident set of that time above the resident set before it, when
the code and the weights are loaded. Processor seconds are those of all threads together; unlike
the seconds elapsed they hardly depend on what else the machine is doing.

The peer is spectral gating by ``noisereduce`` (Sainburg and Zorea, 2024) with its own defaults,
used as its documentation shows: on the whole recording as one array.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from audio_denoising.errors import UserError
from benchmarks.measuring import resident

OURS = "ours"
PEERS = ("stationary", "non-stationary")
SIDES = (OURS, *PEERS)

Clean = Callable[[Path, Path], object]
"""Reads the first file, cleans, and writes the second."""


def load(side: str, model: str, threads: int) -> Clean:
    """The contestant with everything that it can load before it knows the file."""
    if side == OURS:
        import torch

        from audio_denoising.cleaning.denoiser import Denoiser

        torch.set_num_threads(threads)
        return Denoiser(model, device="cpu").denoise_file
    import noisereduce
    import soundfile

    def gate(input: Path, output: Path) -> None:
        noisy, rate = soundfile.read(input, dtype="float32")
        clean = noisereduce.reduce_noise(y=noisy.T, sr=rate, stationary=side == "stationary")
        soundfile.write(output, clean.T, rate)

    return gate


def measure(side: str, model: str, threads: int, input: Path, output: Path) -> dict[str, float]:
    """Seconds (elapsed, and of processor) and MiB of one recording, in this process."""
    start = time.perf_counter(), time.process_time()
    clean = load(side, model, threads)
    loaded = time.perf_counter(), time.process_time()
    before = resident("VmRSS")
    clean(input, output)
    end = time.perf_counter(), time.process_time()
    return {
        "load_elapsed": loaded[0] - start[0],
        "load_processor": loaded[1] - start[1],
        "elapsed": end[0] - loaded[0],
        "processor": end[1] - loaded[1],
        "before_mib": before,
        "growth_mib": resident("VmHWM") - before,
    }


def measure_in_fresh_process(
    side: str, model: str, threads: int, input: Path, output: Path
) -> dict[str, float]:
    """`measure`, in a new process that has done nothing else and has so many threads.

    Raises:
        subprocess.CalledProcessError: the process failed; its message is on stderr.
    """
    options = {"side": side, "model": model, "threads": threads, "input": input, "output": output}
    command = [sys.executable, "-m", "benchmarks.inference_trial"]
    command += [f"--{name}={value}" for name, value in options.items()]
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    limits = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, **limits},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Prints the measurement as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", choices=SIDES, required=True)
    parser.add_argument("--model", default="v4")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    try:
        found = measure(given.side, given.model, given.threads, given.input, given.output)
    except UserError as error:
        sys.exit(f"{error}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
