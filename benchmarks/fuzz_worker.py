"""A process that is fed hostile files one by one, and watched while it reads them.

What a file can do to a program shows outside of it: the process dies of a signal (a decoder wrote
where it must not), does not come back, holds too much memory, or starts something. So every file is
given to a process of its own kind, and what becomes of the process is told of the file.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from audio_denoising.errors import UserError
from benchmarks.measuring import resident

Target = Callable[[Path], object]
"""Reads a file; whatever it raises but `UserError` is a fault."""

ACCEPTED, REFUSED = "accepted", "refused"
FAULTS = ("exception", "crash", "hang", "memory", "executed")

_INPUTS_OF_A_PROCESS = 1000  # then a fresh one: a small leak should not be taken for a bomb
# What no file may lead to, as Python's audit events name it (PEP 578).
_FORBIDDEN = frozenset(
    ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect")
)


@dataclass(frozen=True)
class Limits:
    """What reading one file may take.

    Attributes:
        cpu_seconds: of processor, all threads together: a busy machine makes no hang.
        wall_seconds: elapsed, for a process that sleeps.
        memory_mib: largest resident set of the process, with Python and all libraries.
        data_mib: where the system refuses more, so that a bomb does not take the machine along.
    """

    cpu_seconds: int = 10
    wall_seconds: float = 120.0
    memory_mib: float = 2048.0
    data_mib: int = 6144


@dataclass(frozen=True)
class Outcome:
    """What a file led to.

    Attributes:
        verdict: accepted, refused (by a `UserError`), or one of `FAULTS`.
        detail: the message of the refusal, or what tells where the fault lies.
        peak_mib: largest resident set of the process so far; 0 where it did not live to tell.
    """

    verdict: str
    detail: str = ""
    peak_mib: float = 0.0

    @property
    def fault(self) -> bool:
        """Whether the program is at fault."""
        return self.verdict in FAULTS


class Watched:
    """Feeds files to a process, and starts another where it died; use it in ``with``.

    Args:
        target: what reads the files; a function of a module, so that a new process finds it.
        canary: a file that hostile code would make; the process works in its folder.
        limits: what a file may take.
    """

    def __init__(self, target: Target, canary: Path, limits: Limits | None = None) -> None:
        self._target, self._canary, self._limits = target, canary, limits or Limits()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._fed = 0

    def feed(self, path: Path) -> Outcome:
        """What the file leads to."""
        if self._process is None or self._fed >= _INPUTS_OF_A_PROCESS:
            self.close()
            self._start()
        self._fed += 1
        self._connection.send(path)
        outcome = self._answer()
        if self._canary.exists():
            self._canary.unlink()
            outcome = Outcome("executed", f"the canary was made; {outcome.detail}")
        if outcome.verdict in ("memory", "executed"):
            self.close()  # the next one is not to blame
        return outcome

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        # Not forked: a thread or a lock of this process has no place in that one.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        process = context.Process(
            target=_serve,
            args=(theirs, self._target, self._limits, self._canary.parent),
            daemon=True,
        )
        process.start()
        theirs.close()  # so that its death is heard here
        self._connection.recv()  # it has loaded all it needs
        self._process, self._fed = process, 0

    def _answer(self) -> Outcome:
        assert self._process is not None
        if not self._connection.poll(self._limits.wall_seconds):
            self.close()
            return Outcome("hang", f"no answer in {self._limits.wall_seconds:g} s")
        try:
            outcome: Outcome = self._connection.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode or 0
            self.close()
            if code == -signal.SIGXCPU:
                return Outcome("hang", f"more than {self._limits.cpu_seconds} s of processor")
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return Outcome("crash", name)
        if outcome.peak_mib > self._limits.memory_mib:
            return Outcome("memory", f"{outcome.peak_mib:.0f} MiB; {outcome.detail}")
        return outcome


def _serve(connection: Connection, target: Target, limits: Limits, folder: Path) -> None:
    """Reads the files whose names come, and tells what came of them, until it is killed."""
    if "torch" in sys.modules:  # as the target's module has it
        # Threads that wait for each other spin: processor time for nothing.
        sys.modules["torch"].set_num_threads(1)
    os.chdir(folder)  # where code in a file would leave its canary
    executed: list[str] = []
    sys.addaudithook(lambda event, _: executed.append(event) if event in _FORBIDDEN else None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (limits.data_mib << 20, resource.RLIM_INFINITY))
    connection.send(None)
    while True:
        path: Path = connection.recv()
        used = resource.getrusage(resource.RUSAGE_SELF)
        allowed = int(used.ru_utime + used.ru_stime) + 1 + limits.cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
        executed.clear()
        verdict, detail = ACCEPTED, ""
        try:
            target(path)
        except UserError as error:
            verdict, detail = REFUSED, str(error)
        except BaseException as error:  # also SystemExit and KeyboardInterrupt
            verdict, detail = "exception", _where(error)
        if executed:
            verdict, detail = "executed", ", ".join(executed)
        connection.send(Outcome(verdict, detail, resident("VmHWM")))


def _where(error: BaseException) -> str:
    """The error and the last places it came through, in one line; alike for alike faults."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
    return f"{type(error).__name__}: {str(error)[:200]} [{places}]"
