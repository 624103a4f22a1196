"""The contestants of the engine benchmark: one network, one batch, four ways to train it.

    ours                 the from-scratch engine with its fast kernels
    torch_nchw           the torch.nn twin, autograd and fused Adam; torch's default layout (NCHW)
    torch_channels_last  the same twin in the layout that torch recommends on CPUs
    reference            our engine with the readable im2col kernels

All start from the same weights and see the same batch of real spectrogram images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.dsp.spectrum import image, stft
from audio_denoising.mixing.dataset import MixtureDataset, batches
from audio_denoising.mixing.mixing import mix_batch
from audio_denoising.models import build
from audio_denoising.models.twin import build_twin
from audio_denoising.training.learner import ScratchLearner
from audio_denoising.training.options import TrainingOptions

OURS, NCHW, CHANNELS_LAST, REFERENCE = "ours", "torch_nchw", "torch_channels_last", "reference"
SIDES = (OURS, NCHW, CHANNELS_LAST, REFERENCE)
TWINS = (NCHW, CHANNELS_LAST)
VERSION = "v4"
LEARNING_RATE = 1e-4
CORPUS = Path(__file__).resolve().parent.parent / "tests" / "data"

Batch = tuple[Tensor, Tensor]


class Side(Protocol):
    """What is measured. Both calls use the batch that the side was made with."""

    def step(self) -> Tensor:
        """One training step (forward, loss, backward, Adam); returns the loss, a scalar."""

    def forward(self) -> Tensor:
        """The cleaned images (N, 1, 256, 256), in evaluation mode, nothing kept for backward."""


def set_up(threads: int | None) -> None:
    """Threads, and denormal numbers flushed to zero, for the process that measures.

    The gradient behind a saturated sigmoid is a product of tiny numbers, and processors handle
    numbers below 1e-38 (denormals) in microcode, some hundred times slower. Every side suffers as
    soon as the network is sure of itself, so training flushes them, and so does every side here.
    The threads inherit the setting when they are started: it comes before any arithmetic.
    """
    torch.set_flush_denormal(True)
    if threads:
        torch.set_num_threads(threads)


def real_batch(batch: int) -> Batch:
    """(noisy, clean) images (N, 1, 256, 256) of real noisy speech, the same at every call."""
    speech, noise = (index(CORPUS / name) for index, name in _CORPORA)
    dataset = MixtureDataset(speech, noise, epoch_size=batch)
    (stretches,) = batches(dataset, epoch=0, batch_size=batch, shuffle=False)
    mixed = mix_batch(stretches.speech, stretches.noise, stretches.recipe[:, 0])
    clean, noisy = (image(stft(waves))[:, None] for waves in mixed)
    return noisy, clean


_CORPORA = ((index_speech, "LibriSpeech"), (index_noise, "noise"))


def first_weights(size: str) -> dict[str, Tensor]:
    """The weights that every side starts from."""
    torch.manual_seed(0)
    return build(VERSION, size).state_dict()


def make_side(name: str, size: str, batch: Batch, weights: dict[str, Tensor]) -> Side:
    """One contestant.

    Args:
        name: one of `SIDES`. size: "small" or "large".
        batch: (noisy, clean) images. weights: as from `first_weights`.
    """
    if name in TWINS:
        return _Twin(size, batch, weights, channels_last=name == CHANNELS_LAST)
    kernels = {OURS: "fast", REFERENCE: "reference"}[name]
    return _Scratch(size, batch, weights, kernels)


class _Scratch:
    """Our engine, through the very learner that training uses."""

    def __init__(self, size: str, batch: Batch, weights: dict[str, Tensor], kernels: str) -> None:
        options = TrainingOptions(VERSION, size, learning_rate=LEARNING_RATE)
        self.learner = ScratchLearner(options, torch.device("cpu"))
        self.learner.model.load_state_dict(weights)
        for module in self.learner.model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.use_kernels(kernels)
        self.noisy, self.clean = batch

    def step(self) -> Tensor:
        return self.learner.step(self.noisy, self.clean, LEARNING_RATE)[0]

    def forward(self) -> Tensor:
        return self.learner.predict(self.noisy)


class _Twin:
    """The library at its best: in-place activations, the fused Adam, gradients set to None."""

    def __init__(
        self,
        size: str,
        batch: Batch,
        weights: dict[str, Tensor],
        channels_last: bool,
    ) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = build_twin(VERSION, size)
        self.model.load_state_dict(weights)
        self.model.to(memory_format=layout)
        self.criterion = torch.nn.L1Loss()
        self.optimiser = torch.optim.Adam(self.model.parameters(), LEARNING_RATE, fused=True)
        self.noisy, self.clean = (x.contiguous(memory_format=layout) for x in batch)

    def step(self) -> Tensor:
        self.model.train()
        self.optimiser.zero_grad()
        loss = self.criterion(self.model(self.noisy), self.clean)
        loss.backward()
        self.optimiser.step()
        value: Tensor = loss.detach()
        return value

    def forward(self) -> Tensor:
        with torch.inference_mode():
            prediction: Tensor = self.model.eval()(self.noisy)
        return prediction
