"""A run leaves what it promises: checkpoints, a history, two curves; and says what stops it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_denoising.dsp.signals import SIGNALS
from audio_denoising.errors import UserError
from audio_denoising.models import DECIBEL_IMAGE, VERSIONS
from audio_denoising.models.checkpoint import load_checkpoint
from audio_denoising.training.validation import Validation
from tests.training.conftest import Trained
from tests.training.runs import (
    SPEECH,
    TINY,
    Recorder,
    content,
    differences,
    options,
    quickly,
    rows,
    train,
)

FIGURES = {
    *("epoch", "step", "hours", "train_loss", "train_psnr", "train_seconds"),
    *("validation_loss", "validation_psnr", "validation_si_sdr", "validation_si_sdr_gain"),
    "skipped_steps",
}


def test_a_run_leaves_its_results(tmp_path: Path) -> None:
    """One whose networks have their own widths, and whose curves are drawn."""
    assert train(tmp_path, narrow=False, epochs=1)
    curves = {"loss_curve.png", "psnr_curve.png"}
    assert {p.name for p in tmp_path.iterdir()} == {"last.pth", "best.pth", "history.json", *curves}
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for name in curves)
    found = torch.load(tmp_path / "last.pth", weights_only=True)
    assert (found["version"], found["size"]) == ("v4", "small")
    assert found["widths"] == [16, 32, 64, 128, 256]
    assert found["signal"] == SIGNALS[DECIBEL_IMAGE]
    assert found["optimiser"]["steps"] == 2
    assert len(found["optimiser"]["mean"]) == len(found["model"])
    assert found["position"] == {"epoch": 2, "batch": 0, "step": 2, "heard": 10.2}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_trains(version: str, straight: Trained) -> None:
    history = json.loads((straight(version) / "history.json").read_text())
    assert history["options"] == options(version).as_dict()
    for number, row in enumerate(history["epochs"], 1):
        assert row.keys() == FIGURES
        assert (row["epoch"], row["step"]) == (number, 2 * number)
        assert all(math.isfinite(value) for value in row.values())
        assert row["train_loss"] > 0 and row["validation_loss"] > 0
    heard = 8 * options(version).clip_seconds / 3600
    assert history["epochs"][-1]["hours"] == pytest.approx(heard, rel=0.05)
    with quickly(narrow=True):
        found = load_checkpoint(straight(version) / "last.pth")
    assert (found.version, found.size, found.steps) == (version, "small", 4)
    assert found.history == history["epochs"]


def test_every_fifth_epoch_is_kept_and_the_best_one_too(tmp_path: Path) -> None:
    told = Recorder()
    assert train(tmp_path, "v2", epochs=5, batch_size=1, epoch_size=1, recorder=told)
    assert {path.name for path in tmp_path.glob("*.pth")} == {
        *("last.pth", "previous.pth", "best.pth", "epoch_005.pth")
    }
    history = json.loads((tmp_path / "history.json").read_text())["epochs"]
    assert history == told.rows
    assert told.steps == [(epoch, 1) for epoch in range(1, 6)]
    ratios = [row["validation_si_sdr"] for row in history]
    assert told.best == [r > max(ratios[:i], default=-math.inf) for i, r in enumerate(ratios)]
    assert content(tmp_path / "best.pth")["history"][-1]["validation_si_sdr"] == max(ratios)
    assert content(tmp_path / "epoch_005.pth")["position"]["step"] == 5


def test_the_seed_decides_everything(straight: Trained, tmp_path: Path) -> None:
    for seed in (0, 1):
        train(tmp_path / str(seed), seed=seed)
    same, other, first = (
        content(folder / "last.pth") for folder in (tmp_path / "0", tmp_path / "1", straight("v4"))
    )
    assert differences(same, first) == []
    a, b = other["model"], first["model"]
    assert not any(torch.equal(a[name], b[name]) for name in a if "weight" in name)


def test_steps_are_told_as_they_were(tmp_path: Path) -> None:
    told = Recorder()
    settings: dict[str, Any] = {"schedule": "cosine", "warmup_steps": 2, "learning_rate": 1e-3}
    assert train(tmp_path, recorder=told, **settings)
    assert told.steps == [(1, 1), (1, 2), (2, 1), (2, 2)]
    rates = [figures["learning_rate"] for figures in told.figures]
    assert rates[:3] == [5e-4, 1e-3, 1e-3] and rates[3] < 1e-3
    assert all(each["gradient_norm"] > 0 < each["samples_per_second"] for each in told.figures)
    for first, second, row in zip(told.figures[::2], told.figures[1::2], told.rows, strict=True):
        assert row["train_loss"] == (first["loss"] + second["loss"]) / 2
        assert row["train_psnr"] == (first["psnr"] + second["psnr"]) / 2


# What keeps a run sound


def test_gradients_that_are_no_numbers_stop_the_run_and_are_never_the_best(tmp_path: Path) -> None:
    told = Recorder()
    with pytest.raises(UserError, match="of 5 steps in a row.*not numbers.*--lr.*--clip-norm"):
        train(tmp_path / "a", learning_rate=1e30, batch_size=1, recorder=told)
    assert [figures["skipped"] for figures in told.figures] == [False, *[True] * 4]
    assert told.rows[0]["skipped_steps"] == 3
    assert math.isfinite(told.rows[0]["train_loss"])
    # Nor weights that were ruined in the last step of an epoch.
    ruined = Recorder()
    assert train(tmp_path / "b", learning_rate=1e30, epochs=1, batch_size=4, recorder=ruined)
    assert math.isnan(ruined.rows[0]["validation_loss"]) and ruined.best == [False]
    assert not list(tmp_path.rglob("best.pth"))


def test_averaged_weights_are_validated_and_kept(straight: Trained, tmp_path: Path) -> None:
    assert train(tmp_path, ema=0.9)
    averaged, plain = (content(folder / "last.pth") for folder in (tmp_path, straight("v4")))
    # The average changes nothing about how the weights move, only which are kept.
    assert differences(averaged["unaveraged_model"], plain["model"]) == []
    assert differences(averaged["model"], plain["model"]) != []
    losses = [rows(at)[-1]["validation_loss"] for at in (tmp_path, straight("v4"))]
    assert losses[0] != losses[1]


def test_a_run_that_gets_no_better_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratios = iter([1.0, 3.0, 2.0, 2.5, 9.0])
    real = Validation.run
    monkeypatch.setattr(
        Validation, "run", lambda *given: {**real(*given), "validation_si_sdr": next(ratios)}
    )
    told = Recorder()
    settings: dict[str, Any] = {"epochs": 5, "epoch_size": 1, "batch_size": 1, "patience": 2}
    assert train(tmp_path, recorder=told, **settings)
    assert [row["epoch"] for row in told.rows] == [1, 2, 3, 4]
    assert told.reason == "no epoch of the last 2 was better than the best before"
    again = Recorder()
    assert train(tmp_path, recorder=again, resume=True, **settings)
    assert again.steps == []


# Material


def test_held_out_speakers_validate_and_never_train(tmp_path: Path) -> None:
    recorder = Recorder()
    train(tmp_path, epochs=1, hold_out=["26"], recorder=recorder)
    splits = recorder.material.splits
    train_speakers, held = (
        {r.group.rsplit("/", 1)[1] for r in part.speech}
        for part in (splits.train, splits.validation)
    )
    assert "26" in held and "26" not in train_speakers


def test_several_weighted_folders(tmp_path: Path) -> None:
    folders = [SPEECH / "train-clean-100", SPEECH / "dev-clean", TINY / "noise"]
    settings: dict[str, Any] = {"epochs": 1, "speech_weights": [1.0, 2.0, 1.0]}
    recorder = Recorder()
    assert train(tmp_path, speech=folders, recorder=recorder, **settings)
    assert {r.source for r in recorder.material.splits.train.speech} == {0, 2}
    told = recorder.material.describe()
    assert told[2] == f"    speech: 50 % {folders[0]}, 0 % {folders[1]}, 50 % {folders[2]}"
    assert len(told) == 4  # one folder of noise needs no shares
    history = json.loads((tmp_path / "history.json").read_text())
    assert history["options"]["speech_weights"] == [1.0, 2.0, 1.0]
    assert str(SPEECH) not in json.dumps(history)
    settings["speech_weights"] = None
    with pytest.raises(UserError, match="was trained with another speech_weights"):
        train(tmp_path, resume=True, **settings)


def test_damaged_files_are_passed_over_and_named_at_the_end(tmp_path: Path) -> None:
    speech = tmp_path / "LibriSpeech"
    shutil.copytree(SPEECH, speech)
    flac = next((speech / "train-clean-100").rglob("*.flac"))
    flac.write_bytes(flac.read_bytes()[:4000] + bytes(40000))  # the header promises more
    unreadable = flac.with_name("unreadable.wav")
    unreadable.write_bytes(b"RIFF")
    recorder = Recorder()
    assert train(tmp_path / "run", speech=speech, epochs=1, epoch_size=16, recorder=recorder)
    assert recorder.material.damaged == [unreadable, flac]


# Refusals


@pytest.mark.parametrize("what", ["speech", "noise"])
def test_folders_that_leave_nothing_to_train_or_validate_on(what: str, tmp_path: Path) -> None:
    (tmp_path / what).mkdir()
    folders: dict[str, Any] = {what: tmp_path / what}
    lonely = next(path for path in sorted((TINY).rglob("*.opus")))
    shutil.copy(lonely, tmp_path / what / "lonely.opus")
    with pytest.raises(UserError, match=f"{what} leaves no {what} for the validation split"):
        train(tmp_path / "out", **folders)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_fails_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    told = Recorder()
    with pytest.raises(UserError, match="cannot write .*file.*another folder"):
        train(tmp_path / "file" / "below", recorder=told)
    assert told.steps == []
