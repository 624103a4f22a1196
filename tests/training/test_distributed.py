"""Two processes that share a batch make the steps of one that has it all."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_denoising.cli.app import main
from audio_denoising.errors import UserError
from audio_denoising.training import distributed
from audio_denoising.training.distributed import local_device
from audio_denoising.training.options import Processes, RunPlace
from audio_denoising.training.trainer import Trainer
from tests.training.runs import (
    NOISE,
    SPEECH,
    Recorder,
    content,
    options,
    quickly,
    rows,
    train,
)


def _one(rank: int, ports: list[int], runs: list[list[str]], folder: Path) -> None:
    """What one process of two does, as `torchrun` would start it: one run after the other, because
    to start processes takes longer than to train so little."""
    with (folder / f"told{rank}").open("w") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    with quickly(narrow=True) as patch:
        patch.setattr(distributed, "BUCKET", 2000)  # several buckets even in a narrow network
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2}.items():
            patch.setenv(name, str(value))
        patch.setenv("MASTER_ADDR", "127.0.0.1")
        for port, arguments in zip(ports, runs, strict=True):
            patch.setenv("MASTER_PORT", str(port))
            patch.setattr(sys, "argv", ["denoise", *arguments])
            with pytest.raises(SystemExit) as end:
                main()
            assert not end.value.code


# An epoch is a step, so that the history tells the loss of every step.
SETTINGS: dict[str, Any] = {"epochs": 3, "batch_size": 4, "epoch_size": 4, "learning_rate": 1e-3}
V5: dict[str, Any] = {**SETTINGS, "epochs": 2, "clip_seconds": 0.5, "schedule": "constant"}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the runs `v4`, `torch` and `v5`, by two processes of one thread each; what they
    told is in `told0` and `told1`."""
    pytest.importorskip("resource", reason="processes are forked")
    from benchmarks.measuring import ready

    folder = tmp_path_factory.mktemp("both")
    common = ["--size", "small", "--device", "cpu", "--speech", str(SPEECH), "--noise", str(NOISE)]
    common += ["--batch-size", "4", "--epoch-size", "4", "--lr", "1e-3"]
    own = {version: ["--epochs", "3", "--accumulate", "2"] for version in ("v4", "torch")}
    own["v5"] = ["--epochs", "2", "--clip-seconds", "0.5", "--cache", str(folder / "cache")]
    own["v5"] += ["--schedule", "constant"]
    runs = [["train", v, *common, "--out", str(folder / v), *more] for v, more in own.items()]
    runs.append([*runs[-1], "--resume", "--perceptual", "1"])  # of which a notice tells
    with ExitStack() as stack:
        free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in runs]
        ports = [each.getsockname()[1] for each in free]
    processes = [ready().Process(target=_one, args=(rank, ports, runs, folder)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
        assert process.exitcode == 0
    return folder


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


@pytest.mark.parametrize("name", ["v4", "torch", "v5"])
def test_two_processes_equal_one(name: str, both: Path, tmp_path: Path) -> None:
    one, start = tmp_path / "one", tmp_path / "start"
    settings = V5 if name == "v5" else SETTINGS
    epochs = settings["epochs"]
    assert train(one, name, **settings)
    assert train(start, name, **{**settings, "epochs": 1, "learning_rate": 1e-30})
    told = [(both / f"told{rank}").read_text() for rank in (0, 1)]
    assert told[0].count(f"{name}-small on cpu") == (2 if name == "v5" else 1)
    assert told[1] == ""  # the first alone talks
    assert told[0].count("trained with another perceptual") == 1
    assert unlike(one, both / name, start) == []

    # Another number of processes goes on with the same run.
    prolonged = {**settings, "epochs": epochs + 1}
    recorder = Recorder()
    assert train(both / name, name, resume=True, recorder=recorder, **prolonged)
    assert recorder.resumed_at == epochs
    assert train(one, name, resume=True, **prolonged)
    assert unlike(one, both / name, start) == []


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    place = RunPlace([SPEECH], [NOISE], tmp_path / "both", "cpu")
    with pytest.raises(UserError, match="--batch-size 3 cannot be divided among 2 processes"):
        Trainer(options("v4", batch_size=3), place, processes=Processes(0, 2))
    assert not (tmp_path / "both").exists()


def test_every_local_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [local_device(name) for name in ("cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:0", "cpu"]
