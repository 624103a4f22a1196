"""Validation: how well the network does on a fixed set of mixtures that it never trains on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sized
from itertools import islice

import numpy as np
from torch import Tensor

from audio_denoising.dsp.measures import si_sdr
from audio_denoising.training.learner import Learner
from audio_denoising.training.material import Pair
from audio_denoising.training.options import ALONE, Processes


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


def _ratio(estimate: Tensor, reference: Tensor) -> float:
    """SI-SDR within ±60 dB, so that one silent or perfect segment cannot rule the mean."""
    if not reference.any():
        return 0.0
    value = si_sdr(estimate.numpy(), reference.numpy())
    return 0.0 if math.isnan(value) else min(60.0, max(-60.0, value))
