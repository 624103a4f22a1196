"""A run leaves what it promises: checkpoints, a history, two curves; and says what stops it."""

from __future__ import annotations

import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audio_denoising.errors import UserError
from audio_denoising.models import VERSIONS
from audio_denoising.models.checkpoint import load_checkpoint
from audio_denoising.training.reporting import StepReport
from tests.training.conftest import Trained
from tests.training.runs import NOISE, SPEECH, TINY, Recorder, content, options, train

FIGURES = {
    *("epoch", "step", "hours", "train_loss", "train_psnr", "train_seconds"),
    *("validation_loss", "validation_psnr", "validation_si_sdr", "validation_si_sdr_gain"),
    "skipped_steps",
}
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_trains_and_leaves_its_results(version: str, trained: Trained) -> None:
    out = trained(version)
    names = {path.name for path in out.iterdir()}
    assert names == {"last.pth", "best.pth", "history.json", "loss_curve.png", "psnr_curve.png"}
    for name in ("loss_curve.png", "psnr_curve.png"):
        assert (out / name).read_bytes().startswith(PNG)
    history = json.loads((out / "history.json").read_text())
    assert history["options"] == options(version, epochs=1).as_dict()
    (row,) = history["epochs"]
    assert row.keys() == FIGURES
    assert (row["epoch"], row["step"]) == (1, 2)
    assert all(math.isfinite(value) for value in row.values())
    assert row["train_loss"] > 0 and row["validation_loss"] > 0
    assert row["hours"] == pytest.approx(4 * options(version).clip_seconds / 3600, rel=0.05)
    for name in ("last.pth", "best.pth"):
        checkpoint = load_checkpoint(out / name)
        assert (checkpoint.version, checkpoint.size, checkpoint.steps) == (version, "small", 2)
        assert checkpoint.history == [row]


def test_every_fifth_epoch_is_kept_and_the_best_one_too(tmp_path: Path) -> None:
    told = Recorder()
    assert train(tmp_path, "v2", epochs=5, batch_size=1, epoch_size=1, recorder=told)
    assert {path.name for path in tmp_path.glob("*.pth")} == {
        *("last.pth", "previous.pth", "best.pth", "epoch_005.pth")
    }
    rows = json.loads((tmp_path / "history.json").read_text())["epochs"]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows == told.rows
    assert told.steps == [(epoch, 1) for epoch in range(1, 6)]
    ratios = [row["validation_si_sdr"] for row in rows]
    assert told.best == [r > max(ratios[:i], default=-math.inf) for i, r in enumerate(ratios)]
    best = content(tmp_path / "best.pth")
    assert best["history"][-1]["validation_si_sdr"] == max(ratios)
    assert content(tmp_path / "last.pth")["model"].keys() == best["model"].keys()
    assert content(tmp_path / "epoch_005.pth")["position"]["step"] == 5


def test_a_checkpoint_says_all_about_itself(v4: object, trained: Trained) -> None:
    found = torch.load(trained("v4") / "last.pth", weights_only=True)
    assert (found["version"], found["size"]) == ("v4", "small")
    assert found["widths"] == [16, 32, 64, 128, 256]
    assert found["signal"] == {
        "sample_rate": 16_000,
        "fft_size": 512,
        "hop": 160,
        "bins": 256,
        "frames": 256,
        "floor_db": -80.0,
    }
    assert found["optimiser"]["steps"] == 2
    assert len(found["optimiser"]["mean"]) == len(found["model"])
    assert found["position"] == {"epoch": 2, "batch": 0, "step": 2, "heard": 10.2}
    assert found["rng"].dtype == torch.uint8
    assert len(found["history"]) == 1


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    runs = {"a": 0, "b": 0, "c": 1}
    for name, seed in runs.items():
        train(tmp_path / name, "v2", epochs=1, batch_size=1, epoch_size=1, seed=seed)
    a, b, c = (content(tmp_path / name / "last.pth") for name in runs)
    assert a["history"] == b["history"]
    assert all(torch.equal(a["model"][key], b["model"][key]) for key in a["model"])
    assert not any(torch.equal(a["model"][k], c["model"][k]) for k in a["model"] if "weight" in k)


def test_a_run_in_the_way_is_not_overwritten(trained: Trained) -> None:
    before = (trained("v2") / "last.pth").read_bytes()
    with pytest.raises(UserError, match="holds a run: .*--resume.*--out"):
        train(trained("v2"), "v2", narrow=False)
    assert (trained("v2") / "last.pth").read_bytes() == before


def test_an_epoch_must_fill_a_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="4 mixtures.*batch of 5.*--batch-size.*--epoch-size"):
        train(tmp_path / "out", batch_size=5)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["speech", "noise"])
def test_a_split_without_recordings(what: str, tmp_path: Path) -> None:
    source = {"speech": SPEECH, "noise": NOISE}[what]
    lonely = next(path for path in sorted(source.rglob("*.opus")))
    (tmp_path / what).mkdir()
    shutil.copy(lonely, tmp_path / what / "lonely.opus")
    folders: dict[str, Any] = {what: tmp_path / what}
    with pytest.raises(UserError, match=f"{what} leaves no {what} for the validation split"):
        train(tmp_path / "out", **folders)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_fails_before_the_first_step(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    told = Recorder()
    with pytest.raises(UserError, match="cannot write to .*file.*--out"):
        train(tmp_path / name, recorder=told)
    assert told.steps == []


def test_gradients_that_are_no_numbers_stop_the_run_and_are_never_the_best(tmp_path: Path) -> None:
    told = Recorder()
    with pytest.raises(UserError, match="of 5 steps in a row.*not numbers.*--lr.*--clip-norm"):
        train(tmp_path, learning_rate=1e30, batch_size=1, recorder=told)
    assert [report.skipped for report in told.reports] == [False, *[True] * 4]
    assert told.rows[0]["skipped_steps"] == 3
    assert math.isfinite(told.rows[0]["train_loss"])
    assert not (tmp_path / "best.pth").exists()


def test_weights_ruined_in_the_last_step_of_an_epoch_are_not_the_best(tmp_path: Path) -> None:
    told = Recorder()
    assert train(tmp_path, learning_rate=1e30, epochs=1, batch_size=4, recorder=told)
    assert math.isnan(told.rows[0]["validation_loss"])
    assert told.best == [False]
    assert not (tmp_path / "best.pth").exists()


def test_signals_have_their_usual_effect_again_after_a_run(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert not train(tmp_path, recorder=Recorder(stop_after=1))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    class Impatient(Recorder):
        def stepped(self, report: StepReport) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    # A suite that runs in the background of a shell inherits a SIGINT that is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, recorder=Impatient())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_long_epoch_is_saved_now_and_then(tmp_path: Path) -> None:
    saved: list[int] = []

    class Watcher(Recorder):
        def stepped(self, report: StepReport) -> None:
            path = tmp_path / "last.pth"
            saved.append(content(path)["position"]["step"] if path.exists() else 0)

    assert train(tmp_path, epochs=1, batch_size=1, save_seconds=0.0, recorder=Watcher())
    assert saved == [0, 1, 2, 3]


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
    assert len(told) == 3  # one folder of noise needs no shares
    history = json.loads((tmp_path / "history.json").read_text())
    assert history["options"]["speech_weights"] == [1.0, 2.0, 1.0]
    assert str(SPEECH) not in json.dumps(history)
    settings["speech_weights"] = None
    with pytest.raises(UserError, match="was trained with another speech_weights"):
        train(tmp_path, resume=True, **settings)


@pytest.mark.parametrize("what", ["speech", "noise"])
def test_an_empty_folder(what: str, tmp_path: Path) -> None:
    (tmp_path / what).mkdir()
    folders: dict[str, Any] = {what: tmp_path / what}
    with pytest.raises(
        UserError, match=f"No {what} was found in {tmp_path / what} .no audio files"
    ):
        train(tmp_path / "out", **folders)
    assert not (tmp_path / "out").exists()


def test_one_voice_and_noise_shorter_than_a_frame(tmp_path: Path) -> None:
    voice = [*(SPEECH / "train-clean-100" / "26").rglob("*.opus")]
    for number, path in enumerate(voice):
        (tmp_path / "me").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "me" / f"{number}.opus")
    (tmp_path / "noise").mkdir()
    click = np.random.default_rng(0).uniform(-0.5, 0.5, 100)  # a frame has 512 samples
    for number in range(3):
        soundfile.write(tmp_path / "noise" / f"{number}.wav", click * (number + 1) / 3, 16_000)
    told = Recorder()
    assert train(
        tmp_path / "out", speech=tmp_path / "me", noise=tmp_path / "noise", epochs=1, recorder=told
    )
    assert {r.path for r in told.material.splits.train.speech}.isdisjoint(
        r.path for r in told.material.splits.validation.speech
    )
    assert all(math.isfinite(value) for value in told.rows[0].values())
    assert told.damaged == []


def test_damaged_files_are_passed_over_and_named_at_the_end(tmp_path: Path) -> None:
    speech = tmp_path / "LibriSpeech"
    shutil.copytree(SPEECH, speech)
    flac = next((speech / "train-clean-100").rglob("*.flac"))
    flac.write_bytes(flac.read_bytes()[:4000] + bytes(40000))  # the header promises more
    unreadable = flac.with_name("unreadable.wav")
    unreadable.write_bytes(b"RIFF")
    recorder = Recorder()
    assert train(tmp_path / "run", speech=speech, epochs=1, epoch_size=16, recorder=recorder)
    assert recorder.damaged == [unreadable, flac]
