"""The profile of a run: a few steps, whole, and nothing of the steps after them."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_denoising.errors import UserError
from audio_denoising.training.options import RunPlace
from audio_denoising.training.profiler import StepProfile
from audio_denoising.training.trainer import Trainer
from tests.training.runs import NOISE, SPEECH, PowerCut, Recorder, options, quickly


def profiled(path: Path, other: Recorder, active: int = 1, **changes: Any) -> list[str]:
    """What a tiny run told whose profile goes to `path`; it has two steps before `active` ones."""
    told: list[str] = []
    place = RunPlace([SPEECH], [NOISE], path.parent / "run", "cpu")
    with suppress(MemoryError), quickly(narrow=True):
        Trainer(options(**changes), place, [StepProfile(path, told.append, active), other]).run()
    return told


def names(path: Path) -> Counter[str]:
    """How often each name occurs in a trace."""
    return Counter(event["name"] for event in json.loads(path.read_text())["traceEvents"])


def test_trace_and_table_hold_the_steps_asked_for_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    (told,) = profiled(path, Recorder(), batch_size=1, epochs=1)
    found = names(path)
    assert [name for name in found if name.startswith("ProfilerStep")] == ["ProfilerStep#2"]
    assert found["aten::baddbmm_"]  # the engine's products of matrices
    head, *table = told.splitlines()
    assert head.startswith(f"Profile of 1 step in {path},")
    rows = [line.split() for line in table if line.lstrip().startswith(("aten::", "detach"))]
    assert len(rows) >= 10
    shares = [float(row[1].removesuffix("%")) for row in rows]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0
    for name, *_, calls in rows:
        # PyTorch counts an operator that calls its namesake once, the trace shows both.
        assert 0 < int(calls) <= found[name]


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    (told,) = profiled(path, PowerCut(), active=4, version="torch", batch_size=1, epoch_size=5)
    assert told.startswith("Profile of 2 steps in ")
    assert names(path)["aten::convolution_backward"]
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "run"]


def test_a_run_that_is_too_short_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    (told,) = profiled(path, Recorder(), epochs=1)
    assert told.endswith("this run ended after 2 steps, too few to record one.")
    assert not path.exists()
    assert not torch.autograd._profiler_enabled()
    path = tmp_path / "again" / "profile.json"
    path.mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot write .*profile\.json"):
        profiled(path, Recorder(), version="torch", batch_size=1, epochs=1, epoch_size=3)
