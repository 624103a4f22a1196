"""Kills and hurts real training runs, and says whether they got over it.

python -m benchmarks.faults [--kills 20] [--seed 0] [--json benchmarks/results/faults.json]

A tiny run of `denoise train v4` is killed again and again: by SIGKILL, SIGTERM and SIGINT in turn,
while it starts, trains, writes a checkpoint or ends an epoch, and resumed each time. Another finds
its disk full; of a pair of processes one is killed. Each must end with the very weights of a run
that nobody disturbed. (Damaged checkpoints and lost recordings: tests/training.)
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

from rich.console import Console

from audio_denoising.cli.app import main as denoise
from audio_denoising.errors import UserError
from audio_denoising.models.checkpoint import load_checkpoint
from audio_denoising.training.run_folder import RunFolder
from benchmarks.measuring import describe_machine, markdown_table, ready, report

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
PATIENCE = 1800  # seconds that anything may take; only a run that hangs takes so long
EVERY_STEP, NEVER = 0.001, 1e6  # seconds between checkpoints
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOMENTS = ("writing", "training", "epoch end", "writing", "starting", "writing", "training")


class Broken(AssertionError):
    """A promise that a run did not keep."""


def require(kept: bool, promise: str) -> None:
    if not kept:
        raise Broken(promise)


def _train(arguments: list[str], log: Path) -> None:
    """What a process of a run does: `denoise train`, with its output in `log`."""
    os.setsid()  # a group that Ctrl-C can reach without reaching this one
    with log.open("a") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    log.with_suffix(f".{os.environ.get('RANK', 0)}").write_text(str(os.getpid()))
    from tests.training.runs import quickly  # only here: it needs pytest, the tables do not

    sys.argv = ["denoise", "train", *arguments]
    try:
        with quickly(narrow=True):
            denoise()
    except SystemExit as end:
        if end.code:
            raise


def _train_as_two(arguments: list[str], log: Path) -> None:
    """What `torchrun --standalone --nproc-per-node 2 --max-restarts 1` does."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, max_restarts=1, run_id=uuid.uuid4().hex,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", monitor_interval=0.1, start_method="fork",
    )  # fmt: skip
    elastic_launch(config, _train)(arguments, log)


@dataclass
class Run:
    """A run of `denoise train` that is started again as often as a test needs."""

    out: Path  # the output of its processes lies beside it
    epochs: int = 2  # of four steps each
    batch: int = 1
    save_seconds: float = EVERY_STEP  # between checkpoints
    more: tuple[str, ...] = ()  # further options
    two: bool = False  # processes in place of one

    def start(self) -> None:
        """Starts or, where a checkpoint is there, resumes the run."""
        arguments = ["v4", *self.more]
        for name, value in {
            "size": "small", "device": "cpu", "threads": 1, "epochs": self.epochs, "lr": 0.001,
            "batch-size": self.batch, "epoch-size": 4 * self.batch,
            "save-every": self.save_seconds, "out": self.out,
            "speech": DATA / "LibriSpeech", "noise": DATA / "noise",
        }.items():  # fmt: skip
            arguments += [f"--{name}", str(value)]
        if RunFolder(self.out).holds_a_run:
            arguments.append("--resume")
        self.log = self.out.with_suffix(".log")
        self.log.write_text("")
        target = _train_as_two if self.two else _train
        self.process = ready().Process(target=target, args=(arguments, self.log))
        self.process.start()

    @property
    def told(self) -> str:
        """All that its processes have printed since the start."""
        return self.log.read_text(errors="replace")

    @property
    def begun(self) -> bool:
        """Whether they have said so; from then on a signal makes them save."""
        return "epochs of" in self.told

    def wait_until(self, so: Callable[[], object], what: str) -> None:
        """Looks every millisecond, because a write takes only some dozens of them."""
        deadline = time.monotonic() + PATIENCE
        while not so():
            require(self.process.is_alive(), f"the run ended before {what}: {self.told}")
            require(time.monotonic() < deadline, f"{PATIENCE} s without {what}: {self.told}")
            time.sleep(0.001)

    def wait_for_a_save(self) -> None:
        """Returns as soon as there is a new `last.pth`."""
        last = self.out / "last.pth"
        before = last.stat().st_mtime_ns if last.exists() else 0
        self.wait_until(lambda: last.exists() and last.stat().st_mtime_ns != before, "a checkpoint")

    def send(self, number: signal.Signals) -> None:
        """Ctrl-C goes to the whole group, as from a terminal; other signals to the process."""
        process = self.process.pid or 0
        (os.killpg if number == signal.SIGINT and self.begun else os.kill)(process, number)

    def end(self) -> int:
        """Waits for the process; its exit code."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            raise Broken(f"the run hangs: {self.told}")
        return self.process.exitcode

    def finish(self) -> None:
        """Starts or resumes the run, which must come to its end."""
        self.start()
        code = self.end()
        require(code == 0, f"the run ended with {code}: {self.told}")

    def step(self) -> int:
        """The step of the newest checkpoint, 0 before the first.

        Raises:
            Broken: it is not whole, or `history.json` is not or lacks one of its epochs.
        """
        from tests.training.runs import quickly

        folder = RunFolder(self.out)
        if not folder.holds_a_run:
            return 0
        try:
            with quickly(narrow=True):
                checkpoint = load_checkpoint(folder.last)
            kept = len(json.loads(folder.history.read_text())["epochs"])
        except (OSError, ValueError, UserError) as error:
            raise Broken(f"last.pth or history.json is not whole: {error}") from error
        epochs = len(checkpoint.history)
        require(kept >= epochs, f"history.json has {kept} epochs, last.pth {epochs}")
        return checkpoint.steps

    def writing(self) -> str | None:
        """The file that is being written, if one is, such as ``last.pth``."""
        hidden = [path.name for path in self.out.glob(".*.part.*")]
        return hidden[0][1:].split(".part.")[0].rsplit(".", 1)[0] if hidden else None

    def require_the_end_of(self, whole: Run) -> None:
        """The same files as that run's; times and places aside, bit for bit the same content."""
        from tests.training.runs import content, differences, rows

        names = [{path.name for path in r.out.iterdir()} - {"previous.pth"} for r in (whole, self)]
        require(names[0] == names[1], f"the files are different: {names}")
        for name in ("last.pth", "best.pth"):
            found = differences(content(whole.out / name), content(self.out / name))
            require(not found, f"the runs differ in {name}, {', '.join(found)}")
        require(rows(whole.out) == rows(self.out), "the runs differ in history.json")


def plan(kills: int) -> list[tuple[str, signal.Signals]]:
    """Which signal comes at which kind of moment: every one at each, writes most often."""
    return list(islice(cycle(product(MOMENTS, SIGNALS)), kills))


def killed_and_whole(folder: Path, kills: int, seed: int, rows: list[dict[str, Any]]) -> str:
    """Runs once undisturbed and once with `kills` kills, each a new row; compares the two.

    Raises:
        Broken: a promise was not kept.
    """
    epochs = 3 + kills // 2  # on average a kill comes two steps after the one before, of four
    more = ("--schedule", "cosine", "--warmup", "3", "--clip-norm", "1", "--ema", "0.9")
    whole = Run(folder / "whole", epochs, save_seconds=NEVER, more=more)
    whole.finish()
    hurt = Run(folder / "hurt", epochs, more=more)
    chance = random.Random(seed)
    rows += (_kill(hurt, number, moment, chance) for moment, number in plan(kills))
    require(hurt.step() < 4 * epochs, "the run ended before the last kill")
    hurt.finish()
    hurt.require_the_end_of(whole)
    return f"{hurt.step()} steps, weights bit for bit those of an undisturbed run"


def _kill(run: Run, number: signal.Signals, moment: str, chance: random.Random) -> dict[str, Any]:
    """One start, one signal; what came of it."""
    before = run.step()
    run.start()
    _wait_for(moment, run, chance)
    begun, writing = run.begun, run.writing() if moment != "starting" else None
    run.send(number)
    code, after = run.end(), run.step()
    if number == signal.SIGKILL:
        require(code == -number, f"exit code {code} after a SIGKILL: {run.told}")
        writing = run.writing() if begun else None  # what the dead process has left half-written
    elif begun:
        require(code == 0, f"exit code {code} after {number.name}: {run.told}")
        require("Stopped and saved" in run.told, f"it did not say so: {run.told}")
        require(run.writing() is None, "a stopped run left a half-written file")
    require(after >= before, f"step {before} was saved, after {number.name} it is {after}")
    return {"signal": number.name, "moment": moment, "file_being_written": writing,
            "exit_code": code, "step_before": before, "step_after": after}  # fmt: skip


def _wait_for(moment: str, run: Run, chance: random.Random) -> None:
    """Returns at a random moment of the kind."""
    if moment == "starting":
        time.sleep(chance.uniform(0, 1))
        return
    run.wait_until(lambda: run.begun, "its beginning")
    if moment == "epoch end":
        run.wait_until(lambda: run.writing() not in (None, "last.pth"), "the end of an epoch")
        return
    for _ in range(chance.randint(0, 2)):
        run.wait_for_a_save()
    if moment == "writing":
        run.wait_until(run.writing, "a write")
    time.sleep(chance.uniform(0, 0.01 if moment == "writing" else 0.05))


def full_disk(folder: Path) -> str:
    """The system refuses to write more than half a checkpoint (RLIMIT_FSIZE)."""
    whole, run = Run(folder / "whole", save_seconds=NEVER), Run(folder / "run")
    whole.finish()
    run.start()
    run.wait_for_a_save()
    run.send(signal.SIGKILL)
    run.end()
    before, half = run.step(), (run.out / "last.pth").stat().st_size // 2
    run.start()
    resource.prlimit(run.process.pid or 0, resource.RLIMIT_FSIZE, (half, half))
    code, told = run.end(), run.told
    sentence = told.splitlines()[-1]
    require(code == 2, f"exit code {code}: {told}")
    require("Error: cannot write" in sentence and "free some space" in sentence, told)
    require(run.step() >= before, "a checkpoint was lost")
    require(run.writing() is None, "a half-written file stayed")
    run.finish()
    run.require_the_end_of(whole)
    return sentence.replace(f"{run.out}/", "")


def lost_process(folder: Path) -> str:
    """One process of two is killed; `torchrun --max-restarts 1` goes on by itself."""
    whole, run = (Run(folder / name, epochs=1, batch=2, two=True) for name in ("whole", "run"))
    whole.finish()
    run.start()
    run.wait_for_a_save()
    os.kill(int(run.log.with_suffix(".1").read_text()), signal.SIGKILL)
    code, told = run.end(), run.told
    require(code == 0, f"exit code {code}: {told}")
    require("resumed at step" in told, f"it did not go on from its checkpoint: {told}")
    run.require_the_end_of(whole)
    return "started again by torchrun, the run ended as the undisturbed one, bit for bit"


CASES = (full_disk, lost_process)


def measure(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """All cases, each in a folder of its own below `folder`; what was seen, or not kept."""
    rows: list[dict[str, Any]] = []
    cases: dict[str, Callable[[Path], str]] = {str(case.__doc__): case for case in CASES}
    cases = {f"{kills} kills": lambda at: killed_and_whole(at, kills, seed, rows), **cases}
    results: list[dict[str, str]] = []
    for title, case in cases.items():
        place = folder / str(len(results))
        place.mkdir()
        Console(stderr=True).print(f"{title} …", markup=False)
        try:
            results.append({"case": title, "verdict": "passed", "seen": case(place)})
        except Broken as promise:
            results.append({"case": title, "verdict": "failed", "seen": str(promise)})
    return {"machine": describe_machine(), "seed": seed, "cases": results, "kills": rows}


def faults_table(results: Mapping[str, Any]) -> str:
    """Kills by signal, then every case with its verdict, as Markdown."""
    kills = Counter(row["signal"] for row in results["kills"])
    during = Counter(row["signal"] for row in results["kills"] if row["file_being_written"])
    signals = [[name, str(count), str(during[name])] for name, count in kills.items()]
    cases = [[case["case"], case["verdict"], case["seen"]] for case in results["cases"]]
    first = markdown_table(["signal", "kills", "of these during a write"], signals)
    second = markdown_table(["what befell the run", "verdict", "what was seen"], cases)
    return f"{first}\n\n{second}"


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the tables, keeps the figures; exit code 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        results = measure(Path(folder), given.kills, given.seed)
    report(results, given.json, faults_table(results))
    sys.exit(any(case["verdict"] == "failed" for case in results["cases"]))


if __name__ == "__main__":
    main()
