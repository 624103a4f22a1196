"""One training step, of our engine and of the baseline."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.dsp import spectrum
from audio_denoising.mixing.dataset import MixtureDataset, batches
from audio_denoising.mixing.mixing import mix_batch
from audio_denoising.models import VERSIONS
from audio_denoising.training.learner import ScratchLearner, TorchLearner, build_learner
from tests.training.runs import NOISE, SPEECH, U_NETS, options

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    """Noisy and clean images of two real mixtures, a corner of each to be quick."""
    dataset = MixtureDataset(index_speech(SPEECH), index_noise(NOISE), epoch_size=2)
    ((speech, noise, recipe),) = batches(dataset, epoch=0, batch_size=2, shuffle=False)
    clean, noisy = mix_batch(speech, noise, recipe[:, 0])
    images = [spectrum.image(spectrum.stft(waves)).unsqueeze(1) for waves in (noisy, clean)]
    return images[0][..., :64, :64], images[1][..., :64, :64]


@pytest.mark.parametrize("version", U_NETS)
def test_small_steps_on_one_batch_always_lower_its_loss(
    version: str, batch: tuple[Tensor, Tensor]
) -> None:
    learner = build_learner(options(version), CPU)
    rate = 1e-4 if VERSIONS[version].optimiser == "Adam" else 1e-1
    losses = [float(learner.step(*batch, rate)[0]) for _ in range(6)]
    assert all(after < before for before, after in pairwise(losses))
    prediction = learner.predict(batch[0])
    assert float(learner.representation.loss(prediction, *batch)) < losses[-1]


def test_versions_learn_with_their_engine() -> None:
    for version in VERSIONS:
        expected = TorchLearner if version == "torch" else ScratchLearner
        assert type(build_learner(options(version), CPU)) is expected


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3])
def test_engine_and_baseline_take_the_same_steps(
    clip_norm: float, batch: tuple[Tensor, Tensor]
) -> None:
    ours, theirs = (build_learner(options(v, clip_norm=clip_norm), CPU) for v in ("v4", "torch"))
    theirs.model.load_state_dict(ours.model.state_dict())
    for rate in (1e-4, 3e-4, 1e-4):
        a, b = ours.step(*batch, rate), theirs.step(*batch, rate)
        assert float(a[0]) == pytest.approx(float(b[0]), rel=1e-4)
        assert torch.allclose(a[1], b[1], rtol=0, atol=1e-4)
        assert not b[0].requires_grad and not b[1].requires_grad


@pytest.mark.parametrize("version", ["v4", "torch"])
def test_the_rate_of_a_step_is_the_one_it_is_given(
    version: str, batch: tuple[Tensor, Tensor]
) -> None:
    learner = build_learner(options(version), CPU)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    learner.step(*batch, 0.0)
    after = learner.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    learner.step(*batch, 1e-3)
    moved = max(
        float((value - before[name]).abs().max())
        for name, value in learner.model.state_dict().items()
    )
    assert 0.5e-3 < moved < 2e-3  # a step of Adam is about as long as its rate


@pytest.mark.parametrize("version", U_NETS)
def test_a_restored_learner_goes_on_exactly(version: str, batch: tuple[Tensor, Tensor]) -> None:
    learner, other = (build_learner(options(version, seed=seed), CPU) for seed in (0, 1))
    learner.step(*batch, 1e-3)
    other.load_state_dict(copy.deepcopy(learner.state_dict()))
    a, b = (float(x.step(*batch, 1e-3)[0]) for x in (learner, other))
    assert a == b
    a, b = (float(x.step(*batch, 1e-3)[0]) for x in (learner, other))
    assert a == b


def test_predicting_changes_nothing(batch: tuple[Tensor, Tensor]) -> None:
    for version in ("v4", "torch"):
        learner = build_learner(options(version), CPU)
        before: dict[str, Any] = {n: v.clone() for n, v in learner.model.state_dict().items()}
        assert torch.equal(learner.predict(batch[0]), learner.predict(batch[0]))
        after = learner.model.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
