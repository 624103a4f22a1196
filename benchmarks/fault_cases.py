"""What else befalls a training run: a full disk, a damaged checkpoint, a lost file or process.

Each function makes a run suffer in a folder of its own, raises `Broken` where the run does not keep
what it promises, and says in a sentence what it did.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.fault_runs import NEVER, SPEECH, Run, differences, require

REFUSED = 2  # exit code of an error that the user can put right


class Skipped(Exception):
    """This machine cannot be made to fail in this way; the message says why."""


class Patient:
    """A run that is hurt again and again in copies, and the same run undisturbed.

    Attributes:
        whole: two epochs to the end. half: killed in the second epoch, after some checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.whole = Run(folder / "whole", save_seconds=NEVER)
        self.whole.finish()
        self.half = Run(folder / "half")
        self.half.stop_after(6)

    def copy(self, out: Path) -> Run:
        """The half-done run once more, in a folder of its own."""
        shutil.copytree(self.half.out, out)
        return replace(self.half, out=out)

    def require_the_same_end(self, run: Run) -> str:
        """Resumes a run to its end, which must be that of the undisturbed one; what it printed."""
        told = run.finish()
        different = differences(self.whole, run)
        require(not different, f"the run ended differently: {', '.join(different)}")
        return told


Case = Callable[[Patient, Path], str]


def truncated(patient: Patient, folder: Path) -> str:
    """`last.pth` is cut off, as by a copy that was interrupted."""
    run = patient.copy(folder / "truncated")
    newest = run.out / "last.pth"
    os.truncate(newest, newest.stat().st_size // 2)
    return _goes_on_from_the_previous(patient, run)


def flipped(patient: Patient, folder: Path) -> str:
    """One bit in the middle of `last.pth` is another one, which torch.load would not notice."""
    run = patient.copy(folder / "flipped")
    _flip(run.out / "last.pth")
    return _goes_on_from_the_previous(patient, run)


def both_damaged(patient: Patient, folder: Path) -> str:
    """`last.pth` and `previous.pth` are damaged: nothing can be resumed, and nothing is touched."""
    run = patient.copy(folder / "both")
    for name in ("last.pth", "previous.pth"):
        _flip(run.out / name)
    before = _files(run.out)
    training = run.start()
    code = training.end()
    told = training.told.strip()
    require(code == REFUSED, f"exit code {code}: {told}")
    require(len(told.splitlines()) == 1, f"more than a sentence: {told}")
    for word in ("neither", "last.pth", "previous.pth", "--start-from", "best.pth"):
        require(word in told, f"the sentence does not say {word}: {told}")
    require(_files(run.out) == before, "the refused run changed its folder")
    return told.replace(f"{run.out}/", "")


def file_limit(patient: Patient, folder: Path) -> str:
    """The system refuses to write more than half a checkpoint (RLIMIT_FSIZE)."""
    run = patient.copy(folder / "limit")
    half = (run.out / "last.pth").stat().st_size // 2
    training = run.start()
    resource.prlimit(training.process.pid, resource.RLIMIT_FSIZE, (half, half))
    return _stops_and_goes_on(patient, run, training.end(), training.told, lambda: None)


def full_disk(patient: Patient, folder: Path) -> str:
    """The disk, a file system of its own in memory, is full; then room is made."""
    size = sum(path.stat().st_size for path in patient.half.out.iterdir())
    newest = (patient.half.out / "last.pth").stat().st_size
    with _disk(folder / "disk", size + 4 * newest) as disk:
        run = patient.copy(disk / "run")
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(int(3.5 * newest)))
        training = run.start()
        code = training.end()
        return _stops_and_goes_on(patient, run, code, training.told, ballast.unlink)


def lost_recording(patient: Patient, folder: Path) -> str:
    """A recording is deleted while an epoch is under way."""
    speech = shutil.copytree(SPEECH, folder / "speech")
    run = Run(folder / "lost", epoch_steps=8, speech=speech)
    training = run.start()
    training.wait_until(run.newest_file, "a checkpoint")
    lost = min((speech / "train-clean-100").rglob("*.opus"))
    lost.unlink()
    code, told = training.end(), training.told
    require(code == 0, f"exit code {code}: {told}")
    require(str(lost) in told, f"it does not name {lost}: {told}")
    require(run.step() == 16, f"it made {run.step()} steps, not 16")
    return next(line for line in told.splitlines() if str(lost) in line).replace(f"{folder}/", "")


def lost_process(patient: Patient, folder: Path) -> str:
    """One process of two is killed; `--resume` goes on."""
    run = _pair(folder / "pair")
    code = _lose_one(run)
    require(code != 0, "torchrun calls a run with a lost process a success")
    before = run.step()
    told = run.finish()
    require(f"resumed at step {before}" in told, f"it did not go on from step {before}: {told}")
    return f"torchrun ended with {code}; the next run went on from step {before}"


def restarted_process(patient: Patient, folder: Path) -> str:
    """One process of two is killed; `torchrun --max-restarts 1` goes on by itself."""
    whole = _pair(folder / "together")
    whole.finish()
    run = _pair(folder / "restarted", "--max-restarts", "1")
    code = _lose_one(run)
    told = run.out.with_suffix(".log").read_text()
    require(code == 0, f"exit code {code}: {told}")
    require("resumed at step" in told, f"it did not go on from its checkpoint: {told}")
    different = differences(whole, run)
    require(not different, f"the run ended differently: {', '.join(different)}")
    return "started again by torchrun, the run ended as the undisturbed one, bit for bit"


CASES: tuple[Case, ...] = (
    *(file_limit, full_disk, truncated, flipped, both_damaged),
    *(lost_recording, lost_process, restarted_process),
)


def _goes_on_from_the_previous(patient: Patient, run: Run) -> str:
    told = patient.require_the_same_end(run)
    warned = [line for line in told.splitlines() if line.startswith("Warning: ")]
    require(len(warned) == 1, f"not one warning: {told}")
    for name in ("last.pth", "previous.pth"):
        require(f"{run.out / name} " in warned[0] or f"{run.out / name}," in warned[0], warned[0])
    return warned[0].replace(f"{run.out}/", "")


def _stops_and_goes_on(
    patient: Patient, run: Run, code: int, told: str, make_room: Callable[[], object]
) -> str:
    """After a disk that takes no more: a sentence, whole checkpoints, and the way on."""
    require(code == REFUSED, f"exit code {code}: {told}")
    sentence = told.splitlines()[-1]
    require(
        sentence.startswith("Error: cannot write") and "free some space" in sentence,
        f"the last line does not say what to do: {told}",
    )
    require(run.step() >= patient.half.step(), "a checkpoint was lost")
    require(run.writing() is None, "a half-written file stayed")
    make_room()
    patient.require_the_same_end(run)
    return sentence.replace(f"{run.out}/", "")


def _flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def _files(folder: Path) -> dict[str, bytes]:
    """All but the lock, which a killed run leaves behind and the next one takes away."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@contextmanager
def _disk(place: Path, size: int) -> Iterator[Path]:
    """A small file system of its own, for as long as the `with` block runs."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        raise Skipped(f"no right to mount a small disk here: {said}".strip()) from error
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _pair(out: Path, *more: str) -> Run:
    """A run that two processes share."""
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    launcher = (*torchrun, "--nproc-per-node", "2", *more)
    return Run(out, epochs=1, batch=2, launcher=launcher)


def _lose_one(run: Run) -> int:
    """Kills the second process after the first checkpoint; the exit code of torchrun."""
    training = run.start()
    run.wait_for_a_save(training)
    os.kill(_process_of_rank(1, training.process.pid), signal.SIGKILL)
    return training.end()


def _process_of_rank(rank: int, parent: int) -> int:
    """The process id of a rank, a child of torchrun."""
    for about in Path("/proc").glob("[0-9]*/stat"):
        try:
            its_parent = int(about.read_text().rpartition(")")[2].split()[1])
            environment = (about.parent / "environ").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if its_parent == parent and f"RANK={rank}".encode() in environment:
            return int(about.parent.name)
    raise ProcessLookupError(f"torchrun {parent} has no rank {rank}")
