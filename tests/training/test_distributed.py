"""Two processes that share a batch make the steps of one that has it all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_denoising.errors import UserError
from audio_denoising.training.distributed import ALONE, Processes, joined, local_device

from .runs import NARROW, NOISE, SPEECH, Recorder, content, train

SOURCE = Path(__file__).resolve().parents[2] / "src"
PROGRAM = f"""
from audio_denoising.models import WIDTHS
from audio_denoising.training import distributed, history, validation
from audio_denoising.cli import main

WIDTHS.update({NARROW})
distributed.BUCKET = 2000  # several buckets even in a narrow network
validation.VALIDATION_SIZE = 4
history._draw = lambda path, *_: path.touch()
main()
"""
# An epoch is a step, so that the history tells the loss of every step.
SETTINGS: dict[str, Any] = {"epochs": 4, "batch_size": 4, "epoch_size": 4, "learning_rate": 1e-3}


def torchrun(
    folder: Path, version: str, *changes: str, processes: int = 2
) -> subprocess.CompletedProcess[str]:
    """One run by so many processes of one thread each, as a user starts it."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), str(program)]
    command += ["train", version, "--size", "small", "--device", "cpu", "--workers", "0"]
    command += ["--speech", str(SPEECH), "--noise", str(NOISE), "--out", str(folder / "both")]
    for name, value in {**SETTINGS, "lr": SETTINGS["learning_rate"]}.items():
        if name != "learning_rate":
            command += [f"--{name.replace('_', '-')}", str(value)]
    return subprocess.run(
        [*command, *changes],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def histories(*folders: Path) -> list[list[dict[str, Any]]]:
    """The rows of several runs."""
    return [json.loads((folder / "history.json").read_text())["epochs"] for folder in folders]


@pytest.mark.parametrize("version", ["v4", "torch"])
def test_two_processes_equal_one(version: str, tmp_path: Path) -> None:
    assert train(tmp_path / "one", version, **SETTINGS)
    done = torchrun(tmp_path, version, "--accumulate", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{version}-small on cpu") == 1  # the first process alone talks
    one, both = histories(tmp_path / "one", tmp_path / "both")
    assert len(one) == len(both) == 4
    for a, b in zip(one, both, strict=True):
        for name in ("train_loss", "train_psnr", "validation_loss", "validation_si_sdr"):
            assert b[name] == pytest.approx(a[name], rel=1e-5), (name, a["epoch"])
    alone, shared = (
        torch.cat([weights.flatten() for weights in content(folder / "last.pth")["model"].values()])
        for folder in (tmp_path / "one", tmp_path / "both")
    )
    assert float((alone - shared).norm() / alone.norm()) < 1e-4

    # Another number of processes goes on with the same run.
    prolonged = {**SETTINGS, "epochs": 5}
    told = Recorder()
    assert train(tmp_path / "both", version, resume=True, recorder=told, **prolonged)
    assert told.resumed_at == 4
    assert train(tmp_path / "one", version, resume=True, **prolonged)
    one, both = histories(tmp_path / "one", tmp_path / "both")
    assert both[4]["train_loss"] == pytest.approx(one[4]["train_loss"], rel=1e-5)


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    done = torchrun(tmp_path, "v4", "--batch-size", "3")
    assert done.returncode != 0
    assert "Error: --batch-size 3 cannot be divided among 2 processes" in done.stderr
    assert not (tmp_path / "both").exists()


def test_alone_there_is_nothing_to_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as processes:
        assert processes is ALONE and processes.leads
    assert ALONE.sum(1.0, 2.0) == [1.0, 2.0]
    assert ALONE.share(3) == 3
    assert Processes(1, 2).share(4) == 2
    with pytest.raises(UserError, match="3 cannot be divided among 2 processes"):
        Processes(1, 2).share(3)


def test_every_local_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device("cuda") == "cuda:1"
    assert local_device("cpu") == "cpu"
    assert local_device("cuda:0") == "cuda:0"
    monkeypatch.delenv("LOCAL_RANK")
    assert local_device("cuda") == "cuda"
