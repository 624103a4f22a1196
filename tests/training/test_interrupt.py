"""Ctrl-C in a real process: the run saves itself, leaves cleanly and goes on from there."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from audio_denoising.training.trainer import stop_on_signal
from tests.training.runs import Recorder, train


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
