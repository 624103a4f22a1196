"""The mean of scores with a 95 % bootstrap interval: how far the chance of the draw reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
_SEED = 0


@dataclass(frozen=True)
class Mean:
    """A mean of ``count`` scores; ``low`` and ``high`` bound it with 95 % confidence."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap_mean(scores: Sequence[float]) -> Mean | None:
    """The mean with its percentile bootstrap interval; None where there are no scores.

    The interval holds the middle 95 % of the means of 2000 samples drawn from the scores with
    replacement (Efron and Tibshirani, 1993, ch. 13), always by the same random numbers: the same
    scores give the same interval.
    """
    values = np.asarray(scores, np.float64)
    if values.size == 0:
        return None
    rng = np.random.default_rng(_SEED)
    drawn = rng.integers(values.size, size=(RESAMPLES, values.size))
    low, high = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))
    return Mean(float(values.mean()), float(low), float(high), values.size)
