"""Validation: how well the network does on a fixed set of mixtures that it never trains on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..data.dataset import VALIDATION_SIZE, MixtureDataset, Reader, batches
from ..data.mixing import Stretches, read_segment
from ..data.mixtures import make_mixtures
from ..data.splits import Split
from ..dsp.spectrum import SEGMENT, apply_image, image, istft, stft
from ..evaluation.metrics import si_sdr
from .learner import Learner

SEED = 1234  # of the mixtures: the same for every run, so that runs can be compared


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of 10 log10(1 / MSE), in dB, of images (N, C, F, T) in [0, 1]."""
    error = (prediction - target).square().mean(dim=(1, 2, 3))
    return (-10 * torch.log10(error.clamp(min=1e-12))).mean()


def fixed_batches(
    split: Split, batch_size: int, workers: int, reader: Reader = read_segment
) -> Iterator[Stretches]:
    """Batches of a split that are the same for every run, with nothing but noise added."""
    dataset = MixtureDataset(
        split.speech, split.noise, seed=SEED, epoch_size=VALIDATION_SIZE, reader=reader
    )
    return batches(
        dataset, epoch=0, batch_size=batch_size, workers=workers, shuffle=False, drop_last=False
    )


class Validation:
    """The same mixtures every time, mixed once and kept as waveforms (about 50 MB)."""

    def __init__(self, stretches: Iterable[Stretches]) -> None:
        self.batches = [make_mixtures(batch) for batch in stretches]
        pairs = [pair for batch in self.batches for pair in zip(*batch, strict=True)]
        self.noisy_si_sdr = float(np.mean([_ratio(noisy, clean) for clean, noisy in pairs]))

    def run(self, learner: Learner) -> dict[str, float]:
        """Loss, PSNR (dB), SI-SDR (dB) and its gain over the noisy input, means over mixtures."""
        sums = np.zeros(3)
        count = 0
        for clean, noisy in self.batches:
            spectra = stft(noisy.to(learner.device))
            target = image(stft(clean.to(learner.device))).unsqueeze(1)
            prediction = learner.predict(image(spectra).unsqueeze(1))
            cleaned = istft(apply_image(spectra, prediction[:, 0]), SEGMENT).cpu()
            scores = [_ratio(c, s) for c, s in zip(cleaned, clean, strict=True)]
            loss = float(learner.loss(prediction, target))
            means = (loss, float(psnr(prediction, target)), np.mean(scores))
            sums += len(clean) * np.array(means)
            count += len(clean)
        loss, image_psnr, ratio = sums / count
        return {
            "validation_loss": float(loss),
            "validation_psnr": float(image_psnr),
            "validation_si_sdr": float(ratio),
            "validation_si_sdr_gain": float(ratio) - self.noisy_si_sdr,
        }


def _ratio(estimate: Tensor, reference: Tensor) -> float:
    """SI-SDR within ±60 dB, so that one silent or perfect segment cannot rule the mean."""
    if not reference.any():
        return 0.0
    value = si_sdr(estimate.numpy(), reference.numpy())
    return 0.0 if math.isnan(value) else min(60.0, max(-60.0, value))
