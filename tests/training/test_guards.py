"""What keeps a run sound: skipped steps, averaged weights, early stopping, batches in parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audio_denoising.dsp.representation import DecibelImage
from audio_denoising.dsp.spectrum import image, stft
from audio_denoising.errors import UserError
from audio_denoising.training.learner import Learner, build_learner
from audio_denoising.training.validation import Validation
from tests.training.conftest import Trained
from tests.training.runs import (
    Recorder,
    content,
    differences,
    options,
    quickly,
    rows,
    train,
)

CPU = torch.device("cpu")
ENGINES = ("v2", "v4", "torch")


@pytest.fixture
def narrow() -> Iterator[None]:
    """Narrow networks: these tests are about steps, not about layers."""
    with quickly(True):
        yield


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    """Noisy and clean images (5, 1, 256, 256)."""
    generator = torch.Generator().manual_seed(1)
    clean = torch.rand((5, 1, 256, 256), generator=generator)
    return (clean + 0.1).clamp(max=1), clean


def state(learner: Learner) -> dict[str, Any]:
    """A copy that later steps leave alone."""
    return {name: value.clone() for name, value in learner.state_dict()["model"].items()}


@pytest.mark.parametrize("version", ENGINES)
@pytest.mark.parametrize("spoilt", ["noisy", "clean"])
def test_a_step_that_is_not_a_number_changes_nothing(
    version: str, spoilt: str, batch: tuple[Tensor, Tensor], narrow: None
) -> None:
    learner = build_learner(options(version), CPU, parts=2)
    learner.step(*batch, 1e-3)
    before = state(learner)
    bad = [images.clone() for images in batch]
    bad[spoilt == "clean"][4, 0, 7, 7] = torch.nan
    assert not learner.step(*bad, 1e-3).taken
    assert differences(state(learner), before) == []
    assert learner.step(*batch, 1e-3).taken
    assert differences(state(learner), before) != []
    assert all(value.isfinite().all() for value in state(learner).values())


@pytest.mark.parametrize(("version", "parts"), [("v4", 2), ("v4", 9), ("v2", 5), ("torch", 5)])
def test_a_batch_in_parts_is_the_same_batch(
    version: str, parts: int, batch: tuple[Tensor, Tensor], narrow: None
) -> None:
    whole, divided = (build_learner(options(version), CPU, parts=p) for p in (1, parts))
    for _ in range(2):
        a, b = whole.step(*batch, 1e-3), divided.step(*batch, 1e-3)
        assert float(b.loss) == pytest.approx(float(a.loss), rel=1e-5)
        assert float(b.gradient_norm) == pytest.approx(float(a.gradient_norm), rel=1e-4)
        assert torch.allclose(a.prediction, b.prediction, atol=1e-5)


@pytest.mark.parametrize("version", ["v4", "torch"])
def test_recomputing_changes_nothing(version: str, tmp_path: Path) -> None:
    for name, recompute in (("plain", False), ("thrifty", True)):
        assert train(tmp_path / name, version, epochs=1, recompute=recompute)
    found = [content(tmp_path / name / "last.pth") for name in ("plain", "thrifty")]
    assert differences(found[0]["model"], found[1]["model"]) == []


def test_skipped_steps_are_counted_and_leave_the_means_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = DecibelImage.hear, []

    def broken_at_first(self: DecibelImage, waves: Tensor) -> Tensor:
        calls.append(1)
        return real(self, waves * torch.nan if len(calls) == 1 else waves)

    monkeypatch.setattr(DecibelImage, "hear", broken_at_first)
    told = Recorder()
    assert train(tmp_path, recorder=told)
    assert [report.skipped for report in told.reports] == [True, False, False, False]
    assert [row["skipped_steps"] for row in told.rows] == [1, 0]
    assert told.rows[0]["train_loss"] == told.reports[1].loss
    assert told.summary is not None and told.summary.skipped == 1
    assert json.loads((tmp_path / "history.json").read_text())["epochs"] == told.rows


def test_steps_are_reported_as_they_were(tmp_path: Path) -> None:
    told = Recorder()
    settings: dict[str, Any] = {"schedule": "cosine", "warmup_steps": 2, "learning_rate": 1e-3}
    assert train(tmp_path, recorder=told, **settings)
    assert [report.step for report in told.reports] == [1, 2, 3, 4]
    assert [report.learning_rate for report in told.reports[:2]] == [5e-4, 1e-3]
    assert told.reports[3].learning_rate < told.reports[2].learning_rate == 1e-3
    assert all(report.gradient_norm > 0 < report.samples_per_second for report in told.reports)
    for first, second, row in zip(told.reports[::2], told.reports[1::2], told.rows, strict=True):
        assert second.mean_loss == row["train_loss"] == (first.loss + second.loss) / 2
        assert second.mean_psnr == row["train_psnr"] == (first.psnr + second.psnr) / 2


def test_averaged_weights_are_validated_kept_and_resumed(straight: Trained, tmp_path: Path) -> None:
    assert train(tmp_path / "straight", ema=0.9)
    averaged, plain = (
        content(folder / "last.pth") for folder in (tmp_path / "straight", straight("v4"))
    )
    # The average changes nothing about how the weights move, only which are kept.
    assert differences(averaged["unaveraged_model"], plain["model"]) == []
    assert differences(averaged["model"], plain["model"]) != []
    assert (
        rows(tmp_path / "straight")[-1]["validation_loss"]
        != rows(straight("v4"))[-1]["validation_loss"]
    )
    assert not train(tmp_path / "stopped", ema=0.9, recorder=Recorder(stop_after=3))
    assert train(tmp_path / "stopped", ema=0.9, resume=True)
    for name in ("last.pth", "best.pth"):
        found = (content(tmp_path / folder / name) for folder in ("straight", "stopped"))
        assert differences(*found) == []
    assert rows(tmp_path / "straight") == rows(tmp_path / "stopped")
    with pytest.raises(UserError, match="another ema"):
        train(tmp_path / "stopped", ema=0.5, resume=True)


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
    assert told.summary is not None and told.summary.best == told.rows[1]
    assert told.summary.reason == "no epoch of the last 2 was better than the best before"
    again = Recorder()
    assert train(tmp_path, recorder=again, resume=True, **settings)
    assert again.steps == []


def test_clips_show_what_validation_hears(tmp_path: Path) -> None:
    class Listener(Recorder):
        def finished_epoch(self, row: Any, is_best: bool, clips: Any) -> None:
            self.clips = clips()

    told = Listener()
    assert train(tmp_path, epochs=1, recorder=told)
    assert len(told.clips) == 2  # a batch of two
    for clip in told.clips:
        assert clip.clean.shape == clip.noisy.shape == clip.cleaned.shape == (40800,)
        assert clip.clean_image.shape == clip.cleaned_image.shape == (256, 256)
        assert torch.equal(clip.cleaned_image, image(stft(clip.cleaned)))
        assert clip.cleaned_image.mean() < clip.noisy_image.mean()  # never louder
        assert not torch.equal(clip.noisy, clip.cleaned)


def test_the_average_begins_with_the_weights_of_the_checkpoint(
    straight: Trained, tmp_path: Path
) -> None:
    start = straight("v4") / "last.pth"
    settings: dict[str, Any] = {"start_from": str(start), "learning_rate": 1e-12, "ema": 0.999}
    assert train(tmp_path, epochs=1, **settings)
    before, after = (content(path)["model"] for path in (start, tmp_path / "last.pth"))
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
