"""Ctrl-C in a real process: the run saves itself, leaves cleanly and goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from audio_denoising.training.trainer import stop_on_signal
from tests.training.runs import NARROW, NOISE, SPEECH, Recorder, content, train

SOURCE = Path(__file__).resolve().parents[2] / "src"
PROGRAM = f"""
from audio_denoising.models import WIDTHS
from audio_denoising.training import material
from audio_denoising.cli.app import main

WIDTHS.update({NARROW})
material.VALIDATION_SIZE = 2
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_closed_terminal_is_a_wish_to_stop_unless_nohup_is_before_the_command() -> None:
    for heard, handler in ((True, signal.SIG_DFL), (False, signal.SIG_IGN)):
        before = signal.signal(signal.SIGHUP, handler)
        try:
            with stop_on_signal() as received:
                os.kill(os.getpid(), signal.SIGHUP)
            assert (signal.SIGHUP in received) == heard
            assert signal.getsignal(signal.SIGHUP) == handler
        finally:
            signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    class Impatient(Recorder):
        def stepped(self, *told: Any) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    # A suite that runs in the background of a shell inherits a SIGINT that is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, recorder=Impatient())
        # It has its usual effect again.
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
def test_ctrl_c_saves_and_leaves_cleanly(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["train", "v2", "--size", "small", "--epochs", "1", "--batch-size", "1"]
    command += ["--epoch-size", "2000", "--threads", "1", "--device", "cpu"]
    command += ["--save-every", "0.001"]  # after every step: the test sees how far the run is
    command += ["--speech", str(SPEECH), "--noise", str(NOISE), "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as from a terminal
    )
    try:
        deadline = time.monotonic() + 120
        while not (out / "last.pth").exists() and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        told, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, "")
    assert "Stopped and saved: go on with the same command and --resume" in told
    names = {path.name for path in out.iterdir()} - {"previous.pth"}  # there after two steps
    assert names == {"last.pth", "history.json"}
    steps = content(out / "last.pth")["position"]["step"]
    assert 1 <= steps < 2000
    recorder = Recorder(stop_after=2)
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 1, "epoch_size": 2000}
    assert not train(out, "v2", resume=True, recorder=recorder, **settings)
    assert recorder.resumed_at == steps
    assert recorder.steps == [(1, steps + 1), (1, steps + 2)]
