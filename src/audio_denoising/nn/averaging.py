"""A moving average of weights: steadier than the weights of any one step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class MovingAverage:
    """a <- decay a + (1 - decay) w after every step, and a = w before the first.

    Young averages follow faster, decay_t = min(decay, (1 + t) / (10 + t)), so that the random
    first weights are soon forgotten. Polyak and Juditsky, SIAM J. Control Optim. 30 (1992), for
    why it helps; the form with a decay is Tarvainen and Valpola's, NeurIPS 2017
    (arXiv:1703.01780).

    Args:
        weights: the tensors that an optimiser changes in place.
        decay: in [0, 1).
    """

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.weights = list(weights)
        self.decay = decay
        self.steps = 0
        self.means = [weight.clone() for weight in self.weights]

    def update(self) -> None:
        """One step of the formula above."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.means, self.weights, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the `with` block the weights are the average; afterwards what they were."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def resume(self, steps: int) -> None:
        """Goes on as after `steps` updates: what the weights are now is the average."""
        self.steps = steps
        for mean, weight in zip(self.means, self.weights, strict=True):
            mean.copy_(weight)

    def _exchange(self) -> None:
        for weight, mean in zip(self.weights, self.means, strict=True):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)
