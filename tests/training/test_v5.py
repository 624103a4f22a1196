"""What `denoise train` promises holds for v5 too, whose mixtures and statistics are its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audio_denoising import nn
from audio_denoising.corpora.corpus import Recording
from audio_denoising.corpora.held_out import held_out, may_be_heard
from audio_denoising.errors import UserError
from audio_denoising.models import build
from audio_denoising.models.checkpoint import build_model, load_checkpoint
from audio_denoising.training.learner import Learner
from audio_denoising.training.material import Material
from audio_denoising.training.options import ALONE, Processes, RunPlace
from tests.training.conftest import Trained
from tests.training.runs import (
    NOISE,
    SPEECH,
    Recorder,
    content,
    differences,
    options,
    quickly,
    train,
)

CPU = torch.device("cpu")


def material(
    cache: Path | None = None,
    rooms: tuple[Path, ...] = (),
    processes: Processes = ALONE,
    **changes: Any,
) -> Material:
    place = RunPlace([SPEECH], [NOISE], Path("out"), cache=cache, rooms=rooms)
    return Material(options("v5", **changes), place, processes, CPU)


def test_what_is_kept_is_the_average_with_moments_of_its_own(straight: Trained) -> None:
    folder = straight("v5")
    with quickly(narrow=True):
        found = load_checkpoint(folder / "last.pth")
        learner = Learner(options("v5"), CPU)
        learner.model.load_state_dict(found.model_state)
        hearing = learner.representation
        with torch.inference_mode():
            heard = (hearing.hear(noisy) for noisy in material().statistics())
            nn.take_statistics(learner.model, map(hearing.features, heard))
        ready = build_model(found, CPU)
    assert differences(learner.model.state_dict(), found.model_state) == []
    last = found.content["unaveraged_model"]
    assert not any(torch.equal(last[name], found.model_state[name]) for name in last)
    assert isinstance(ready, nn.Module) and not ready.training


def test_moments_are_those_of_all_batches() -> None:
    torch.manual_seed(0)
    layer = nn.BatchNorm(3)
    batches = [torch.randn(50, 3) * scale + scale for scale in (1, 2, 3)]
    nn.take_statistics(layer, iter(batches))
    mean = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    variance = torch.stack([batch.var(0) for batch in batches]).mean(0)
    assert torch.allclose(layer.running_mean.data, mean, atol=1e-6)
    assert torch.allclose(layer.running_var.data, variance, atol=1e-5)
    assert layer.momentum == 0.1 and not layer.training
    unasked = iter(batches)
    nn.take_statistics(build("v4", "small"), unasked)
    assert len(list(unasked)) == 3


# Mixtures


def test_the_last_fifth_has_half_as_many_twice_as_long() -> None:
    whole = material(epochs=5, batch_size=4, epoch_size=8)
    shapes = [tuple(noisy.shape) for epoch in range(1, 6) for noisy, _ in whole.mixtures(epoch)]
    blocks = round(0.5 * 16000 / 256)
    assert shapes == [(4, (blocks + 1) * 256)] * 8 + [(2, (2 * blocks + 1) * 256)] * 2
    open_ended = material(epochs=5, batch_size=4, epoch_size=8, schedule="constant")
    assert all(len(noisy) == 4 for noisy, _ in open_ended.mixtures(5))


def test_validation_is_the_same_whatever_the_batch() -> None:
    with quickly(narrow=True):
        a, b = (list(material(batch_size=n, epoch_size=4, seed=n).validation()) for n in (2, 4))
    assert differences(a, b) == []
    assert sum(len(noisy) for noisy, _ in a) == 4


def test_rooms_are_heard(tmp_path: Path) -> None:
    response = np.exp(-np.arange(4000) / 300) * np.random.default_rng(0).standard_normal(4000)
    response[0] = 4
    soundfile.write(tmp_path / "room.wav", response / 8, 16000)
    dry, wet = material(epoch_size=64), material(rooms=(tmp_path,), epoch_size=64)
    assert "1 measured" in wet.describe()[-2] and len(dry.describe()) == 3
    assert len(wet.mixer.rooms) == 1


@pytest.mark.parametrize(
    ("path", "hint", "allowed"),
    [
        ("LibriSpeech/train-clean-100/19/198/a.flac", "train", True),
        ("LibriSpeech/test-other/19/198/a.flac", "test", False),
        ("UrbanSound8K/audio/fold10/1-2-3-4.wav", "fold10", False),
        ("UrbanSound8K/audio/fold1/1-2-3-4.wav", "fold1", True),
        *((f"{line.split('/', 1)[1]}.opus", None, False) for line in sorted(held_out())[:2]),
    ],
)
def test_what_nobody_may_hear(path: str, hint: str | None, allowed: bool) -> None:
    assert may_be_heard(Recording(Path("/data") / path, "a", 1, 1, hint)) is allowed


def test_urban_sounds_make_the_weights_non_commercial(straight: Trained, tmp_path: Path) -> None:
    told, urban = Recorder(), straight("v5") / "best.pth"
    licence = content(urban)["licence"]
    assert "non-commercial" in licence and "UrbanSound8K" in licence
    for number, recording in enumerate(sorted(NOISE.rglob("*.opus"))):
        (tmp_path / "mine").mkdir(exist_ok=True)
        shutil.copy(recording, tmp_path / "mine" / f"noise {number}.opus")
    assert train(tmp_path / "free", "v5", epochs=1, noise=tmp_path / "mine", recorder=told)
    assert told.licence == ""
    again: dict[str, Any] = {"epochs": 1, "noise": tmp_path / "mine", "start_from": str(urban)}
    assert train(tmp_path / "tuned", "v5", recorder=told, **again)
    assert told.licence == licence  # what was heard once


def test_every_process_needs_a_share_of_a_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--batch-size 2 must be a multiple of 4"):
        RunPlace([SPEECH], [NOISE], tmp_path).check(options("v5"), 2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"accumulate": 2}, "v5 normalises over whole batches: .*--accumulate"),
        ({"batch_size": 1}, "--batch-size 1 must be a multiple of 2"),
        ({"speech": ["a.tar"], "noise": ["b.tar"]}, "v5 trains from folders"),
    ],
)
def test_refusals(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        train(tmp_path, "v5", **changes)
