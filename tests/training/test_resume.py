"""A run that was interrupted and resumed ends exactly where an uninterrupted one does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_denoising.errors import UserError, UserNotice
from audio_denoising.models.checkpoint import export, load_checkpoint
from audio_denoising.training.learner import Learner
from audio_denoising.training.material import Material
from audio_denoising.training.trainer import stop_on_signal
from tests.training.conftest import Trained
from tests.training.runs import (
    SPEECH,
    Recorder,
    content,
    differences,
    quickly,
    rows,
    train,
)


def assert_same_run(a: Path, b: Path) -> None:
    """Bit-identical weights, optimiser and random state; the same history."""
    assert {path.name for path in a.iterdir()} == {path.name for path in b.iterdir()}
    for name in ("last.pth", "best.pth"):
        assert differences(content(a / name), content(b / name)) == []
    assert rows(a) == rows(b)


@pytest.mark.parametrize(
    ("version", "stop_after"),
    # An epoch has two steps: in the middle of one, after its last step, in the next one.
    [("v4", 1), ("v4", 2), ("v2", 3), ("torch", 3), ("v5", 3)],
)
def test_resumed_equals_uninterrupted(
    version: str, stop_after: int, straight: Trained, tmp_path: Path
) -> None:
    assert not train(tmp_path, version, recorder=Recorder(stop_after))
    told = Recorder()
    assert train(tmp_path, version, resume=True, recorder=told)
    assert told.resumed_at == stop_after
    assert len(told.steps) == 4 - stop_after
    assert_same_run(tmp_path, straight(version))


def test_stopped_during_validation(
    straight: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, left = Learner.predict, [signal.SIGTERM]

    def interrupted(*arguments: Any) -> Any:
        if left:
            signal.raise_signal(left.pop())
        return predict(*arguments)

    monkeypatch.setattr(Learner, "predict", interrupted)
    assert not train(tmp_path)
    stopped = content(tmp_path / "last.pth")
    assert [stopped["position"][key] for key in ("epoch", "batch", "step")] == [1, 2, 2]
    assert stopped["history"] == []
    assert train(tmp_path, resume=True)
    assert_same_run(tmp_path, straight("v4"))


def test_stopped_while_statistics_are_taken(
    straight: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many batches, before the validation: no other is asked for."""
    statistics, asked = Material.statistics, []

    def interrupted(material: Material) -> Iterator[torch.Tensor]:
        for batch in statistics(material):
            if not asked:
                signal.raise_signal(signal.SIGINT)
            asked.append(batch)
            yield batch

    monkeypatch.setattr(Material, "statistics", interrupted)
    assert not train(tmp_path, "v5")
    assert len(asked) == 1
    assert train(tmp_path, "v5", resume=True)
    assert_same_run(tmp_path, straight("v5"))


def test_everything_that_decides_a_step_goes_on_too(tmp_path: Path) -> None:
    folders = [SPEECH / "train-clean-100", SPEECH / "dev-clean"]
    cache = tmp_path / "decoded"
    settings: dict[str, Any] = {
        "schedule": "cosine",
        "warmup_steps": 2,
        "clip_norm": 0.01,
        "augmentation": "varied",
        "speech": folders,
        "speech_weights": [2.0, 1.0],
        "cache": cache,
    }
    told = Recorder()
    assert train(tmp_path / "straight", recorder=told, **settings)
    assert f"decoded: in {cache}, " in told.material.describe()[-1]
    assert not train(tmp_path / "resumed", recorder=Recorder(3), **settings)
    assert train(tmp_path / "resumed", resume=True, **settings)
    assert_same_run(tmp_path / "straight", tmp_path / "resumed")


def test_a_run_of_an_earlier_release_goes_on_and_says_what_changes(
    straight: Trained, tmp_path: Path
) -> None:
    """Options that there were, and one that there was not."""
    whole = torch.load(straight("v4") / "last.pth", weights_only=True)
    del whole["mixing"], whole["options"]["patience"]
    whole["options"] |= {"workers": 4, "precision": "bf16"}
    torch.save(whole, tmp_path / "last.pth")
    told = Recorder()
    with pytest.warns(UserNotice, match="last.pth is of an earlier release.*another order"):
        assert train(tmp_path, epochs=3, resume=True, recorder=told)
    assert told.resumed_at == 4


def test_a_run_can_be_prolonged_and_a_finished_one_resumed(
    straight: Trained, tmp_path: Path
) -> None:
    assert train(tmp_path, epochs=1)
    assert train(tmp_path, epochs=2, resume=True)
    for _ in range(2):
        prolonged, whole = content(tmp_path / "last.pth"), content(straight("v4") / "last.pth")
        assert differences(prolonged, whole) == []
        assert rows(tmp_path) == rows(straight("v4"))
        told = Recorder()
        assert train(tmp_path, resume=True, recorder=told)
        assert told.steps == []


def test_a_run_without_an_end_is_brought_to_it(tmp_path: Path) -> None:
    """The last quarter branches off a constant rate: the same steps as had it been planned."""
    assert train(tmp_path / "planned", "v5", epochs=4, warmup_steps=1)
    assert train(tmp_path / "open", "v5", epochs=3, warmup_steps=1, schedule="constant")
    told = Recorder()
    again: dict[str, Any] = {"epochs": 4, "warmup_steps": 1, "resume": True}
    assert train(tmp_path / "open", "v5", schedule="linear-end", recorder=told, **again)
    factors = [figures["learning_rate"] / 1e-3 for figures in told.figures]
    assert factors == pytest.approx([1.0, 0.5])  # of 8 steps the last two come down
    planned, opened = (content(tmp_path / name / "last.pth") for name in ("planned", "open"))
    assert differences(planned, opened) == []
    with pytest.raises(UserError, match="trained with another schedule"):
        train(tmp_path / "open", "v5", schedule="cosine", **again)


def test_a_run_without_an_end_may_change_its_mind(tmp_path: Path) -> None:
    """The term and the shares of folders change the steps, are told and kept with the run, and stay
    what they are from its end on."""
    folders = [SPEECH / "train-clean-100", SPEECH / "dev-clean"]
    settings: dict[str, Any] = {"speech": folders, "warmup_steps": 1, "perceptual": 0.0}
    settings["speech_weights"] = [1.0, 1.0]
    first, ends = tmp_path / "first", []
    assert train(first, "v5", epochs=1, schedule="constant", **settings)
    settings |= {"epochs": 2, "resume": True}
    changes: dict[str, Any] = {"perceptual": 1.0, "speech_weights": [5.0, 1.0]}
    for number, (schedule, change) in enumerate(product(("constant", "linear-end"), ({}, changes))):
        out = tmp_path / str(number)
        shutil.copytree(first, out)
        with warnings.catch_warnings(record=True) as told:
            assert train(out, "v5", schedule=schedule, **settings | change)
        notices = [str(notice.message) for notice in told if notice.category is UserNotice]
        assert [out.name in notice for notice in notices] == [True] * bool(change)
        assert all("trained with another perceptual, speech_weights: " in each for each in notices)
        ends.append(content(out / "last.pth"))
        assert change.items() <= ends[-1]["options"].items()
    for plain, changed in zip(ends[::2], ends[1::2], strict=True):
        assert differences(plain["model"], changed["model"])
    with pytest.raises(UserError, match="trained with another speech_weights, perceptual"):
        train(out, "v5", schedule="linear-end", **settings)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epoch_size": 6, "clip_norm": 1.0}, "epoch_size, clip_norm"),
        ({"version": "v3"}, "version, learning_rate"),
        ({"ema": 0.5}, "ema"),
    ],
)
def test_other_options_are_refused(
    changes: dict[str, Any], named: str, straight: Trained, tmp_path: Path
) -> None:
    shutil.copy(straight("v4") / "last.pth", tmp_path)
    before = (tmp_path / "last.pth").read_bytes()
    with pytest.raises(UserError, match=f"last.pth was trained with another {named}: .*--out"):
        train(tmp_path, **({"version": "v4"} | changes), resume=True)
    assert (tmp_path / "last.pth").read_bytes() == before


def test_an_exported_checkpoint_cannot_be_resumed(straight: Trained, tmp_path: Path) -> None:
    with quickly(narrow=True):
        export(load_checkpoint(straight("v4") / "last.pth"), tmp_path / "last.pth")
    with pytest.raises(UserError, match="does not hold all.*--start-from"):
        train(tmp_path, resume=True)


def test_start_from_begins_with_the_weights_of_a_checkpoint(
    straight: Trained, tmp_path: Path
) -> None:
    source = straight("v2") / "last.pth"
    settings: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-30, "start_from": str(source)}
    told = Recorder()
    assert train(tmp_path / "fine", "v2", recorder=told, **settings)
    assert (told.resumed_at, len(told.rows)) == (0, 1)
    before, after = content(source), content(tmp_path / "fine" / "last.pth")
    assert differences(before["model"], after["model"]) == []  # so small a rate changes nothing
    assert told.rows[0]["validation_loss"] == before["history"][-1]["validation_loss"]
    assert after["position"]["step"] == 2
    with pytest.raises(UserError, match="another start_from"):
        train(tmp_path / "fine", "v2", resume=True, epochs=1, learning_rate=1e-30)
    # The history tells of the run it started from, and so does what is shared of it.
    (earlier,) = json.loads((tmp_path / "fine" / "history.json").read_text())["earlier"]
    with quickly(narrow=True):
        first, tuned = (load_checkpoint(p) for p in (source, tmp_path / "fine" / "last.pth"))
        export(tuned, tmp_path / "half.pth")
        shared = load_checkpoint(tmp_path / "half.pth")
    assert (earlier["options"], earlier["epochs"]) == (first.content["options"], first.history)
    assert tuned.steps == shared.steps == first.steps + 2
    # An exported checkpoint, in half precision, is a beginning too.
    assert train(tmp_path / "out", "v2", epochs=1, start_from=str(tmp_path / "half.pth"))
    weights = content(tmp_path / "out" / "last.pth")["model"].values()
    assert {weight.dtype for weight in weights} == {torch.float32}


def test_start_from_refuses_another_size(straight: Trained, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="last.pth holds v2-small, not v2-large"):
        train(tmp_path, "v2", size="large", start_from=str(straight("v2") / "last.pth"))


# Signals; tests/faults sends them to real processes


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

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, recorder=Impatient())
    # It has its usual effect again.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
