"""How much memory three training steps of one side take, in a process of its own.

python -m benchmarks.engine_memory --side ours --size small --batch 16

Measured is the growth of the process: its largest resident set while the network is built and
trained for three steps, minus its resident set just before, when torch, the code and the batch of
images are loaded and the threads are running. The growth holds weights, gradients, the optimiser's
state, activations and all work areas, and nothing else.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.engine_sides import (
    SIDES,
    first_weights,
    make_side,
    real_batch,
    set_up,
)
from benchmarks.measuring import resident

STEPS = 3


def growth(side: str, size: str, batch: int) -> dict[str, float]:
    """Builds and trains one side in this process; MiB before, at the peak, and the difference."""
    images = real_batch(batch)
    warm = torch.rand(512, 512)
    torch.nn.functional.conv2d((warm @ warm)[None, None], warm[None, None, :3, :3])  # libraries
    gc.collect()
    before = resident("VmRSS")
    contestant = make_side(side, size, images, first_weights(size))
    for _ in range(STEPS):
        contestant.step()
    peak = resident("VmHWM")
    return {"before_mib": before, "peak_mib": peak, "growth_mib": peak - before}


def growth_in_fresh_process(side: str, size: str, batch: int, threads: int) -> dict[str, float]:
    """`growth`, in a new process that has done nothing else.

    Raises:
        subprocess.CalledProcessError: the process failed; its message is on stderr.
    """
    options = {"side": side, "size": size, "batch": batch}
    command = [sys.executable, "-m", "benchmarks.engine_memory", "--threads", str(threads)]
    command += [f"--{name}={value}" for name, value in options.items()]
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Prints the measurement as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", choices=SIDES, required=True)
    parser.add_argument("--size", choices=("small", "large"), default="small")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    set_up(given.threads)
    print(json.dumps(growth(given.side, given.size, given.batch)))


if __name__ == "__main__":
    main()
