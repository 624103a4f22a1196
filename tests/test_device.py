"""Threads wait as they are told before torch is loaded, and the user's own choice stays."""

import os
import subprocess
import sys

import pytest

from audio_denoising.device import wait_briefly

SPY = """
import os, sys

class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("rounds:", os.environ.get("GOMP_SPINCOUNT"))

sys.meta_path.insert(0, Spy())
from audio_denoising import Denoiser
import torch
"""


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # put back afterwards, whatever the test does
        monkeypatch.delenv(name)


def test_whatever_uses_the_package_tells_the_threads_before_they_start():
    done = subprocess.run([sys.executable, "-c", SPY], capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "rounds: 3000"


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    wait_briefly()
    assert "GOMP_SPINCOUNT" not in os.environ
