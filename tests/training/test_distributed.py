"""Two processes that share a batch make the steps of one that has it all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_denoising.errors import UserError
from audio_denoising.training.distributed import joined, local_device
from audio_denoising.training.options import ALONE, Processes, RunPlace
from audio_denoising.training.trainer import Trainer
from tests.training.runs import (
    NARROW,
    NARROW_V5,
    NOISE,
    SPEECH,
    Recorder,
    content,
    options,
    rows,
    train,
)

SOURCE = Path(__file__).resolve().parents[2] / "src"
PROGRAM = f"""
from audio_denoising.models import WIDTHS, causal
from audio_denoising.training import distributed, material, run_folder
from audio_denoising.cli.app import main

WIDTHS.update({NARROW})
causal.SIZES["small"] = causal.{NARROW_V5}
material.STATISTICS = 2
distributed.BUCKET = 2000  # several buckets even in a narrow network
material.VALIDATION_SIZE = 4
run_folder._draw = lambda path, *_: path.touch()
main()
"""
# An epoch is a step, so that the history tells the loss of every step.
SETTINGS: dict[str, Any] = {"epochs": 3, "batch_size": 4, "epoch_size": 4, "learning_rate": 1e-3}


def torchrun(folder: Path, version: str, *changes: str) -> subprocess.CompletedProcess[str]:
    """One run by two processes of one thread each, as a user starts it."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(program)]
    command += ["train", version, "--size", "small", "--device", "cpu"]
    command += ["--speech", str(SPEECH), "--noise", str(NOISE), "--out", str(folder / "both")]
    command += ["--epochs", "3", "--batch-size", "4", "--epoch-size", "4", "--lr", "1e-3"]
    return subprocess.run(
        [*command, *changes],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def unlike(one: Path, both: Path, start: Path) -> list[str]:
    """Where two runs differ by more than rounding: figures of their epochs, or the weights.

    Adam divides by the size of a gradient, so where that is all but zero rounding decides which way
    a weight goes: a fixed distance of the weights would judge the processor. They may be apart by a
    tenth of how far they have come.
    """
    found = []
    for a, b in zip(rows(one), rows(both), strict=True):
        for name in ("train_loss", "train_psnr", "validation_loss", "validation_si_sdr"):
            if b[name] != pytest.approx(a[name], rel=1e-5):
                found.append(f"{name} of epoch {a['epoch']}")
    first, alone, shared = (
        torch.cat([weights.flatten() for weights in content(folder / "last.pth")["model"].values()])
        for folder in (start, one, both)
    )
    if float((alone - shared).norm()) > 0.1 * float((alone - first).norm()):
        found.append("weights")
    return found


@pytest.mark.parametrize("name", ["v4", "torch"])
def test_two_processes_equal_one(name: str, tmp_path: Path) -> None:
    one, both, start = (tmp_path / folder for folder in ("one", "both", "start"))
    assert train(one, name, **SETTINGS)
    assert train(start, name, **{**SETTINGS, "epochs": 1, "learning_rate": 1e-30})
    done = torchrun(tmp_path, name, "--accumulate", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{name}-small on cpu") == 1  # the first process alone talks
    assert unlike(one, both, start) == []

    # Another number of processes goes on with the same run.
    prolonged = {**SETTINGS, "epochs": 4}
    told = Recorder()
    assert train(both, name, resume=True, recorder=told, **prolonged)
    assert told.resumed_at == 3
    assert train(one, name, resume=True, **prolonged)
    assert unlike(one, both, start) == []


def test_two_processes_train_v5(tmp_path: Path) -> None:
    """Each normalises over its own share, so the losses are those of one but nearly."""
    v5: dict[str, Any] = {**SETTINGS, "epochs": 2, "clip_seconds": 0.5}
    assert train(tmp_path / "one", "v5", **v5)
    cache = str(tmp_path / "cache")
    done = torchrun(tmp_path, "v5", "--epochs", "2", "--clip-seconds", "0.5", "--cache", cache)
    assert done.returncode == 0, done.stderr
    one, both = rows(tmp_path / "one"), rows(tmp_path / "both")
    assert [row["hours"] for row in both] == [row["hours"] for row in one]
    assert both[0]["train_loss"] == pytest.approx(one[0]["train_loss"], rel=0.1)
    assert both[1]["validation_si_sdr"] == pytest.approx(one[1]["validation_si_sdr"], abs=1)
    assert train(tmp_path / "both", "v5", resume=True, **{**v5, "epochs": 3})


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    place = RunPlace([SPEECH], [NOISE], tmp_path / "both", "cpu")
    with pytest.raises(UserError, match="--batch-size 3 cannot be divided among 2 processes"):
        Trainer(options("v4", batch_size=3), place, processes=Processes(0, 2))
    assert not (tmp_path / "both").exists()


def test_alone_there_is_nothing_to_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as processes:
        assert processes is ALONE and processes.leads
    assert ALONE.sum(1.0, 2.0) == [1.0, 2.0]


def test_every_local_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [local_device(name) for name in ("cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:0", "cpu"]
