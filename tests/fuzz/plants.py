"""Readers with every fault there is, for a watched process that must notice each."""

from __future__ import annotations

import os
import pickle
import signal
import time
from pathlib import Path

from audio_denoising.errors import UserError


def misbehave(path: Path) -> None:
    """Does what the file says."""
    what = path.read_text()
    if what == "refuse":
        raise UserError(f"{path} is refused")
    if what == "raise":
        raise KeyError("a key")
    if what == "leave":
        raise SystemExit(0)
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "die":
        os._exit(0)
    if what == "work for ever":
        while True:
            pass
    if what == "sleep for ever":
        time.sleep(1000)
    if what == "hog":
        bytes(bytearray(b"\1" * (400 << 20)))
    if what == "make the canary":
        Path("canary").touch()
    if what == "run a command":
        os.system("true")


def unpickle(path: Path) -> None:
    """What `load_checkpoint` must not do."""
    pickle.loads(path.read_bytes())
