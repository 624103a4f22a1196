"""Validation: how well the network does on a fixed set of mixtures that it never trains on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import islice

import numpy as np
from torch import Tensor

from audio_denoising.corpora.splits import Split
from audio_denoising.dsp.measures import si_sdr
from audio_denoising.dsp.spectrum import image, stft
from audio_denoising.mixing.dataset import VALIDATION_SIZE, MixtureDataset, Reader, batches
from audio_denoising.mixing.mixing import read_segment
from audio_denoising.mixing.mixtures import Pair, mixed
from audio_denoising.training.learner import Learner
from audio_denoising.training.options import ALONE, Processes

FEWEST = 8  # mixtures: a mean over less says nothing
CLIPS = 4  # that logs show
SEED = 1234  # of the mixtures: the same for every run, so that runs can be compared


def fixed_batches(
    split: Split, batch_size: int, workers: int, count: int, reader: Reader = read_segment
) -> Iterator[Pair]:
    """`count` mixtures of a split, the same for every run, with nothing but noise added."""
    dataset = MixtureDataset(split.speech, split.noise, seed=SEED, epoch_size=count, reader=reader)
    return mixed(
        batches(
            dataset, epoch=0, batch_size=batch_size, workers=workers, shuffle=False, drop_last=False
        )
    )


def mixtures_for(epoch: int) -> int:
    """How many mixtures judge an epoch of so many: 160, or fewer after less training than that.

    They are the first ones of the same list, so runs with epochs of 160 or more can be compared.
    """
    return min(VALIDATION_SIZE, max(FEWEST, epoch))


@dataclass(frozen=True)
class Clip:
    """A validation mixture before and after: waveforms ``(L,)``, images ``(256, L // 160 + 1)``."""

    clean: Tensor
    noisy: Tensor
    cleaned: Tensor
    clean_image: Tensor
    noisy_image: Tensor
    cleaned_image: Tensor


class Validation:
    """The same mixtures every time, mixed once and kept as waveforms (about 50 MB).

    Several processes divide the batches among them; what they find is that of all.
    """

    def __init__(self, mixtures: Iterable[Pair], processes: Processes = ALONE) -> None:
        self.processes = processes
        self.batches = list(islice(mixtures, processes.rank, None, processes.count))
        pairs = [pair for batch in self.batches for pair in zip(*batch, strict=True)]
        ratios = [_ratio(noisy, clean) for noisy, clean in pairs]
        total, self.count = processes.sum(sum(ratios), len(ratios))
        self.noisy_si_sdr = total / self.count

    def run(self, learner: Learner, stopped: Sized = ()) -> dict[str, float] | None:
        """Loss, PSNR (dB), SI-SDR (dB) and its gain over the noisy input, means over mixtures.

        None once anything is in `stopped`, in any of the processes.
        """
        sums = np.zeros(3)
        hearing = learner.representation
        for noisy, clean in self.batches:
            if stopped:
                break
            heard, target = (
                make(waves.to(learner.device))
                for make, waves in ((hearing.hear, noisy), (hearing.target, clean))
            )
            prediction = learner.predict(heard)
            loss = float(hearing.loss(prediction, heard, target))
            decibels = float(hearing.psnr(prediction, heard, target))
            cleaned = hearing.sound(prediction, noisy.to(learner.device)).cpu()
            inside = slice(hearing.margin, clean.shape[-1] - hearing.margin)
            scores = [_ratio(c[inside], s[inside]) for c, s in zip(cleaned, clean, strict=True)]
            sums += len(clean) * np.array((loss, decibels, np.mean(scores)))
        *totals, stops = self.processes.sum(*sums.tolist(), len(stopped))
        if stops:
            return None
        loss, image_psnr, ratio = (total / self.count for total in totals)
        return {
            "validation_loss": loss,
            "validation_psnr": image_psnr,
            "validation_si_sdr": ratio,
            "validation_si_sdr_gain": ratio - self.noisy_si_sdr,
        }

    def clips(self, learner: Learner) -> list[Clip]:
        """The first mixtures of this process's share, as the network cleans them now."""
        noisy, clean = (waves[:CLIPS] for waves in self.batches[0])
        hearing, there = learner.representation, noisy.to(learner.device)
        cleaned = hearing.sound(learner.predict(hearing.hear(there)), there).cpu()
        images = (image(stft(waves)) for waves in (clean, noisy, cleaned))
        return [Clip(*parts) for parts in zip(clean, noisy, cleaned, *images, strict=True)]


def _ratio(estimate: Tensor, reference: Tensor) -> float:
    """SI-SDR within ±60 dB, so that one silent or perfect segment cannot rule the mean."""
    if not reference.any():
        return 0.0
    value = si_sdr(estimate.numpy(), reference.numpy())
    return 0.0 if math.isnan(value) else min(60.0, max(-60.0, value))
