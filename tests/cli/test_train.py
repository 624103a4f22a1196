"""`denoise train`: every option reaches the run, and the documented scripts are the command."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_denoising.cli.data_options import NOISE, SPEECH
from audio_denoising.training import trainer
from tests.cli.command import ROOT, content, denoise


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the trainer is given when the command runs, in a folder with all that it names."""
    found: dict[str, Any] = {}

    class Stub:
        def __init__(self, options: Any, place: Any, watchers: Any, processes: Any) -> None:
            found.update(options=options, place=place, watchers=watchers)

        def run(self) -> bool:
            return False

    for name in ("s", "t", "x", "n", "m", "o", SPEECH, NOISE):
        for voice in ("anna", "ben"):
            (tmp_path / name / voice).mkdir(parents=True)
            for number in range(8):  # a batch of 16
                (tmp_path / name / voice / f"{number}.wav").touch()
    for path in (tmp_path / "o" / "last.pth", tmp_path / "w.pth"):
        torch.save(content(), path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer, "Trainer", Stub)
    return found


def test_train_hands_on_every_option(given: dict[str, Any]) -> None:
    line = "train v2 --speech s=1 --noise n=3 --out o --size large --epochs 3 --batch-size 4 "
    line += "--epoch-size 8 --lr 0.5 --schedule cosine --warmup 2 --momentum 0.8 --clip-norm 1 "
    line += "--seed 7 --device cpu --threads 1 --start-from w.pth "
    line += "--resume --hold-out anna --hold-out ben --augment varied --cache c "
    line += "--speech t=2 --noise m=.5 --ema 0.99 --patience 4 --accumulate 2 --recompute "
    line += "--save-every 7 --tensorboard --profile"
    result = denoise(*line.split())
    assert (result.code, result.err) == (0, "")
    assert "Stopped and saved: go on with the same command and --resume (o)" in result.out
    assert given["options"].as_dict() == {
        "version": "v2",
        "size": "large",
        "epochs": 3,
        "batch_size": 4,
        "epoch_size": 8,
        "clip_seconds": 2.55,
        "learning_rate": 0.5,
        "schedule": "cosine",
        "warmup_steps": 2,
        "momentum": 0.8,
        "clip_norm": 1.0,
        "ema": 0.99,
        "patience": 4,
        "seed": 7,
        "start_from": "w.pth",
        "hold_out": ["anna", "ben"],
        "augmentation": "varied",
        "speech_weights": [1.0, 2.0],
        "noise_weights": [3.0, 0.5],
        "perceptual": 0.0,
    }
    place = given["place"]
    folders = [*place.speech, *place.noise, place.out]
    assert [str(path) for path in folders] == ["s", "t", "n", "m", "o"]
    assert place.cache == Path("c")
    assert (place.device, place.resume) == ("cpu", True)
    assert (place.accumulate, place.recompute, place.save_seconds) == (2, True, 7.0)
    watching = [type(each).__name__ for each in given["watchers"]]
    assert watching == ["TensorBoardLog", "StepProfile", "TrainingDisplay"]
    denoise("train", "v3")
    assert str(given["place"].out) == str(Path("runs/v3-large"))
    assert (given["options"].speech_weights, given["place"].cache) == (None, None)
    assert given["options"].batch_size == 16 and not given["place"].resume
    assert len(given["watchers"]) == 1


@pytest.mark.parametrize("version", ["v4", "torch"])
def test_the_documented_scripts_are_the_command(version: str, given: dict[str, Any]) -> None:
    script = ROOT / f"train_{version}.py"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(sys, "argv", [str(script), "--size", "small", "--out", "p", "--seed", "9"])
        runpy.run_path(str(script), run_name="__main__")
    options = given["options"]
    assert (options.version, options.size, options.seed) == (version, "small", 9)
