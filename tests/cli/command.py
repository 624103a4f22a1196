"""What the tests of the commands share: running `denoise`, and a checkpoint to clean with."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from audio_denoising.cli.app import main
from audio_denoising.models import build
from audio_denoising.models.checkpoint import describe

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "data"
CORPORA = ("--speech", CORPUS / "LibriSpeech", "--noise", CORPUS / "noise")


class Result:
    """Exit code, standard output and standard error, without colours."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out, self.err = (re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text) for text in (out, err))

    @property
    def sentence(self) -> str:
        """The one line on standard error, after its "Error: "."""
        (line,) = self.err.splitlines()
        assert line.startswith("Error: ")
        return line.removeprefix("Error: ")


def denoise(*arguments: object) -> Result:
    """Runs the `denoise` command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["denoise", *map(str, arguments)])
        patch.setattr(torch, "set_num_threads", lambda count: None)
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as end,
        ):
            main()
    return Result(int(end.value.code or 0), out.getvalue(), err.getvalue())


def python(*arguments: object, cwd: Path = ROOT, stdin: IO[bytes] | None = None) -> Result:
    """Runs Python in a process of its own, on one thread."""
    return run(sys.executable, *arguments, cwd=cwd, stdin=stdin)


def run(*command: object, cwd: Path, stdin: IO[bytes] | None = None) -> Result:
    """Runs a program; where that is Python, our package is there, and works on one thread."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)),
        env={**environment, "COLUMNS": "150"},
        cwd=cwd,
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def listing(folder: Path) -> dict[str, int]:
    """Names and sizes of all that lies in a folder."""
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def content(**changes: Any) -> dict[str, Any]:
    """A checkpoint of an untrained v4-small."""
    position = {"epoch": 2, "batch": 0, "step": 7}
    good = {**describe("v4", "small"), "history": [], "position": position}
    return {"model": build("v4", "small").state_dict(), **good, **changes}
