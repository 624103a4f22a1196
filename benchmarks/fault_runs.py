"""A real training run on a tiny corpus, in a process of its own that can be watched and hurt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from audio_denoising.errors import UserError
from audio_denoising.models.checkpoint import load_checkpoint
from audio_denoising.training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parent.parent
SPEECH, NOISE = ROOT / "tests/data/LibriSpeech", ROOT / "tests/data/noise"
PATIENCE = 1800  # seconds that anything may take; only a run that hangs takes so long
STEP, NEVER = 0.001, 1e6  # seconds between checkpoints: one after every step, or none but at epochs


class Broken(AssertionError):
    """A promise that a run did not keep."""


def require(kept: bool, promise: str) -> None:
    """Raises `Broken` with the promise, if it was not kept."""
    if not kept:
        raise Broken(promise)


class Training:
    """A process that trains, and its output."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        paths = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group that Ctrl-C can reach without reaching this one
            )

    @property
    def told(self) -> str:
        """All it has printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def begun(self) -> bool:
        """Whether it has said so; from then on a signal makes it save itself."""
        return "epochs of" in self.told

    def wait_until(self, so: Callable[[], object], what: str) -> None:
        """Looks every millisecond, because a write takes only some dozens of them."""
        deadline = time.monotonic() + PATIENCE
        while not so():
            ended = self.process.poll() is not None
            require(not ended, f"the run ended before {what}: {self.told}")
            require(time.monotonic() < deadline, f"{PATIENCE} s without {what}: {self.told}")
            time.sleep(0.001)

    def send(self, number: signal.Signals) -> None:
        """Ctrl-C goes to the whole group, as from a terminal; other signals to the process."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def end(self) -> int:
        """Waits for the process and everything it started; its exit code."""
        try:
            try:
                code = self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired as error:
                raise Broken(f"the run hangs: {self.told}") from error
            deadline = time.monotonic() + PATIENCE
            while _alive(self.process.pid):
                require(time.monotonic() < deadline, f"a worker outlives its run: {self.told}")
                time.sleep(0.01)
        finally:
            if _alive(self.process.pid):
                os.killpg(self.process.pid, signal.SIGKILL)
        return code


@dataclass(frozen=True)
class Run:
    """A run of `denoise train` that is started again as often as a test needs.

    Attributes:
        out: its folder; the output of its processes lies beside it.
        epochs: its length. epoch_steps: steps of an epoch. batch: mixtures in each.
        save_seconds: between checkpoints. workers: processes that decode.
        more: further options. launcher: what starts the program. version: what is trained.
    """

    out: Path
    epochs: int = 2
    epoch_steps: int = 4
    batch: int = 1
    speech: Path = SPEECH
    save_seconds: float = STEP
    workers: int = 0
    more: tuple[str, ...] = ()
    launcher: tuple[str, ...] = (sys.executable,)
    version: str = "v4"

    def start(self) -> Training:
        """Starts or, where a checkpoint is there, resumes the run."""
        command = [*self.launcher, "-m", "benchmarks.fault_program", "train", self.version]
        named = {
            "size": "small",
            "device": "cpu",
            "threads": 1,
            "epochs": self.epochs,
            "lr": 0.001,
            "batch-size": self.batch,
            "epoch-size": self.epoch_steps * self.batch,
            "workers": self.workers,
            "save-every": self.save_seconds,
            "speech": self.speech,
            "noise": NOISE,
            "out": self.out,
        }
        for name, value in named.items():
            command += [f"--{name}", str(value)]
        if RunFolder(self.out).holds_a_run:
            command.append("--resume")
        return Training([*command, *self.more], self.out.with_suffix(".log"))

    def finish(self) -> str:
        """Starts or resumes the run, which must come to its end; what it printed."""
        training = self.start()
        code = training.end()
        require(code == 0, f"the run ended with {code}: {training.told}")
        return training.told

    def stop_after(self, saves: int) -> None:
        """Starts the run and kills it when it has written so many checkpoints."""
        training = self.start()
        for _ in range(saves):
            self.wait_for_a_save(training)
        training.send(signal.SIGKILL)
        training.end()

    def wait_for_a_save(self, training: Training) -> None:
        """Returns as soon as there is a new `last.pth`."""
        before = self.newest_file()
        training.wait_until(lambda: self.newest_file() != before, "a checkpoint")

    def newest_file(self) -> int:
        """Another number for every file that `last.pth` has been; 0 before the first."""
        try:
            return (self.out / "last.pth").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def step(self) -> int:
        """The step of the newest checkpoint, 0 before the first.

        Raises:
            Broken: it is not whole, or `history.json` is not or lacks one of its epochs.
        """
        folder = RunFolder(self.out)
        if not folder.holds_a_run:
            return 0
        try:
            checkpoint = load_checkpoint(folder.last)
            rows = json.loads(folder.history.read_text())["epochs"]
        except (OSError, ValueError, UserError) as error:
            raise Broken(f"last.pth or history.json is not whole: {error}") from error
        epochs = len(checkpoint.history)
        require(len(rows) >= epochs, f"history.json has {len(rows)} epochs, last.pth {epochs}")
        return checkpoint.steps

    def writing(self) -> str | None:
        """The file that is being written, if one is, such as ``last.pth``."""
        hidden = [path.name for path in self.out.glob(".*.part.*")]
        return hidden[0][1:].split(".part.")[0].rsplit(".", 1)[0] if hidden else None


def differences(a: Run, b: Run) -> list[str]:
    """Where two runs that should have ended alike did not, bit by bit.

    How long they took and where they were made does not count.
    """
    found = [] if _names(a.out) == _names(b.out) else ["the files"]
    for name in ("last.pth", "best.pth"):
        one, other = (torch.load(run.out / name, weights_only=True) for run in (a, b))
        found += _differences(one, other, name)
    one, other = (json.loads((run.out / "history.json").read_text()) for run in (a, b))
    return found + _differences(one, other, "history.json")


def _differences(a: Any, b: Any, place: str) -> list[str]:
    if place.rsplit("/", 1)[-1] in ("seconds", "train_seconds", "place"):
        return []
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [d for key in a for d in _differences(a[key], b[key], f"{place}/{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i in range(len(a)) for d in _differences(a[i], b[i], f"{place}/{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [place]
    return [] if a == b else [place]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"previous.pth"}


def _alive(group: int) -> bool:
    """Whether a process of the group still runs; one that only waits to be buried does not."""
    for about in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = about.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if int(its_group) == group and state != "Z":
            return True
    return False
