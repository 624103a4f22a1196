"""Optimisers: how a parameter moves along its gradient.

They know nothing of layers: they get a list of parameters, each a tensor with its gradient, and
their settings are plain attributes that a schedule may change between steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audio_denoising.nn.module import Parameter

SCHEDULES = ("constant", "linear-end", "cosine")
_END = 0.25  # of all steps


class Optimiser:
    """Base class: holds the parameters and the learning rate."""

    def __init__(self, parameters: Sequence[Parameter], learning_rate: float) -> None:
        self.parameters = list(parameters)
        self.learning_rate = learning_rate

    def step(self) -> None:
        """Moves every parameter once along its gradient."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Sets every gradient to zero."""
        for parameter in self.parameters:
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on exactly."""
        return {"learning_rate": self.learning_rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        self.learning_rate = state["learning_rate"]

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros_like(p.data) for p in self.parameters]


class SGD(Optimiser):
    """Stochastic gradient descent: v <- momentum v + g;  w <- w - learning_rate v.

    The momentum is Polyak's, in the form of Sutskever et al., ICML 2013, as torch.optim.SGD has it.
    """

    def __init__(
        self, parameters: Sequence[Parameter], learning_rate: float, momentum: float = 0.0
    ) -> None:
        super().__init__(parameters, learning_rate)
        self.momentum = momentum
        self.velocity = self._zeros() if momentum else []

    def step(self) -> None:
        """One step of the formula above."""
        for i, parameter in enumerate(self.parameters):
            change = parameter.grad
            if self.momentum:
                change = self.velocity[i].mul_(self.momentum).add_(change)
            parameter.data.sub_(change, alpha=self.learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """Learning rate and velocities."""
        return {**super().state_dict(), "velocity": [v.clone() for v in self.velocity]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        super().load_state_dict(state)
        for own, saved in zip(self.velocity, state["velocity"], strict=True):
            own.copy_(saved)


class Adam(Optimiser):
    """Adam with bias correction; with a weight decay it is AdamW.

    w <- w - learning_rate * weight_decay * w
    m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
    w <- w - learning_rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)

    Kingma and Ba, "Adam", ICLR 2015 (arXiv:1412.6980), algorithm 1; the decay, which is not part of
    the gradient, is Loshchilov and Hutter's, ICLR 2019.

    Args:
        decayed: which of the parameters the decay shrinks; all of them if left out.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decayed: Sequence[Parameter] | None = None,
    ) -> None:
        super().__init__(parameters, learning_rate)
        self.decayed = self.parameters if decayed is None else list(decayed)
        self.betas = betas
        self.epsilon = epsilon
        self.weight_decay = weight_decay
        self.steps = 0
        self.mean = self._zeros()
        self.square = self._zeros()

    def step(self) -> None:
        """One step of the formula above."""
        self.steps += 1
        beta1, beta2 = self.betas
        step_size = self.learning_rate / (1 - beta1**self.steps)
        if self.weight_decay:
            for parameter in self.decayed:
                parameter.data.mul_(1 - self.learning_rate * self.weight_decay)
        for parameter, mean, square in zip(self.parameters, self.mean, self.square, strict=True):
            gradient = parameter.grad
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            # sqrt(v / (1 - b2^t)) = sqrt(v) / sqrt(1 - b2^t)
            deviation = square.sqrt().div_((1 - beta2**self.steps) ** 0.5).add_(self.epsilon)
            parameter.data.addcdiv_(mean, deviation, value=-step_size)

    def state_dict(self) -> dict[str, Any]:
        """Learning rate, step count and both moments."""
        moments = {name: [m.clone() for m in getattr(self, name)] for name in ("mean", "square")}
        return {**super().state_dict(), "steps": self.steps, **moments}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        super().load_state_dict(state)
        self.steps = state["steps"]
        for name in ("mean", "square"):
            for own, saved in zip(getattr(self, name), state[name], strict=True):
                own.copy_(saved)


def gradient_norm(parameters: Sequence[Parameter]) -> Tensor:
    """The joint L2 norm of all gradients; not a number where one of them is not."""
    return torch.stack([p.grad.norm() for p in parameters]).norm()


def clip_gradient_norm(parameters: Sequence[Parameter], maximum: float) -> Tensor:
    """Scales all gradients so that their joint L2 norm is at most `maximum`; returns the old norm.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013, algorithm 1.
    """
    norm = gradient_norm(parameters)
    scale = (maximum / (norm + 1e-6)).clamp(max=1.0)
    for parameter in parameters:
        parameter.grad.mul_(scale)
    return norm


@dataclass(frozen=True)
class Schedule:
    """A linear warm-up, then a constant rate, one that ends, or half a cosine down to 0.

    The kinds are "constant"; "linear-end", constant and in the last quarter straight down to 0; and
    "cosine" (Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5, no restart).
    """

    kind: str = "constant"
    total_steps: int = 1  # the step at which the rate has come down
    warmup_steps: int = 0  # steps over which the factor rises linearly from near 0 to 1

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.kind!r}: use {', '.join(SCHEDULES)}")

    def factor(self, step: int) -> float:
        """The factor for step 0, 1, 2, ..."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.kind == "constant":
            return 1.0
        if self.kind == "linear-end":
            return max(0.0, min(1.0, (self.total_steps - step) / (_END * self.total_steps)))
        span = max(1, self.total_steps - self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / span)
        return 0.5 * (1 + math.cos(math.pi * progress))


class MovingAverage:
    """a <- decay a + (1 - decay) w after every step, and a = w before the first.

    Young averages follow faster, decay_t = min(decay, (1 + t) / (10 + t)), so that the random
    first weights are soon forgotten. Polyak and Juditsky, SIAM J. Control Optim. 30 (1992), for
    why it helps; the form with a decay is Tarvainen and Valpola's, NeurIPS 2017
    (arXiv:1703.01780). The weights are tensors that an optimiser changes in place.
    """

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self.weights = list(weights)
        self.decay = decay
        self.steps = 0
        self.means = [weight.clone() for weight in self.weights]

    def update(self) -> None:
        """One step of the formula above."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for mean, weight in zip(self.means, self.weights, strict=True):
            mean.lerp_(weight, 1 - decay)

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
