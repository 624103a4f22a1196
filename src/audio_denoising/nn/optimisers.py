"""Optimisers: how a parameter moves along its gradient.

They know nothing of layers: they get a list of parameters, each a tensor with its gradient, and
their settings are plain attributes that a schedule may change between steps. The multi-tensor
operators (`torch._foreach_*`) do the same arithmetic on a whole list of tensors in one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from audio_denoising.nn.module import Parameter
from audio_denoising.nn.tiles import blocks

GROUP = 1 << 18  # values that are updated together: with all their state they fit the caches


def _groups(*lists: Sequence[Tensor]) -> Iterator[list[list[Tensor]]]:
    """Tensors of several parallel lists, cut into stretches and packed into groups of `GROUP`."""
    group: list[tuple[Tensor, ...]] = []
    count = 0
    for tensors in zip(*lists, strict=True):
        for stretches in blocks(GROUP, *tensors):
            group.append(stretches)
            count += stretches[0].numel()
            if count >= GROUP:
                yield [list(column) for column in zip(*group, strict=True)]
                group, count = [], 0
    if group:
        yield [list(column) for column in zip(*group, strict=True)]


class Optimiser:
    """Base class: holds the parameters and the learning rate."""

    def __init__(self, parameters: Sequence[Parameter], learning_rate: float) -> None:
        if learning_rate < 0:
            raise ValueError(f"learning_rate must not be negative, got {learning_rate}")
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
    """Stochastic gradient descent with momentum and (coupled) weight decay.

    g <- g + weight_decay w;  v <- momentum v + g;  w <- w - learning_rate v.
    The momentum is Polyak's, in the form of Sutskever et al., ICML 2013, as torch.optim.SGD has it.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        learning_rate: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.velocity = self._zeros() if momentum else []

    def step(self) -> None:
        """One step of the formula above."""
        weights = [p.data for p in self.parameters]
        gradients = [p.grad for p in self.parameters]
        if self.weight_decay:
            gradients = list(torch._foreach_add(gradients, weights, alpha=self.weight_decay))
        if self.momentum:
            torch._foreach_mul_(self.velocity, self.momentum)
            torch._foreach_add_(self.velocity, gradients)
            gradients = self.velocity
        torch._foreach_add_(weights, gradients, alpha=-self.learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """Learning rate and velocities."""
        return {**super().state_dict(), "velocity": [v.clone() for v in self.velocity]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        super().load_state_dict(state)
        for own, saved in zip(self.velocity, state["velocity"], strict=True):
            own.copy_(saved)


class Adam(Optimiser):
    """Adam with bias correction; `decoupled=True` makes its weight decay that of AdamW.

    m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
    w <- w - learning_rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)

    Kingma and Ba, "Adam", ICLR 2015 (arXiv:1412.6980), algorithm 1; the decay that is not part of
    the gradient, w <- w - learning_rate * weight_decay * w, is Loshchilov and Hutter's, ICLR 2019.

    Args:
        decayed: which of the parameters a decoupled decay shrinks; all of them if left out.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        decayed: Sequence[Parameter] | None = None,
    ) -> None:
        super().__init__(parameters, learning_rate)
        self.decayed = self.parameters if decayed is None else list(decayed)
        self.betas = betas
        self.epsilon = epsilon
        self.weight_decay = weight_decay
        self.decoupled = decoupled
        self.steps = 0
        self.mean = self._zeros()
        self.square = self._zeros()

    def step(self) -> None:
        """One step of the formula above."""
        self.steps += 1
        beta1, beta2 = self.betas
        step_size = self.learning_rate / (1 - beta1**self.steps)
        if self.weight_decay and self.decoupled and self.decayed:
            shrunk = [p.data for p in self.decayed]
            torch._foreach_mul_(shrunk, 1 - self.learning_rate * self.weight_decay)
        data, slopes = [p.data for p in self.parameters], [p.grad for p in self.parameters]
        for weights, gradients, mean, square in _groups(data, slopes, self.mean, self.square):
            if self.weight_decay and not self.decoupled:
                gradients = list(torch._foreach_add(gradients, weights, alpha=self.weight_decay))
            torch._foreach_lerp_(mean, gradients, 1 - beta1)
            torch._foreach_mul_(square, beta2)
            torch._foreach_addcmul_(square, gradients, gradients, value=1 - beta2)
            # sqrt(v / (1 - b2^t)) = sqrt(v) / sqrt(1 - b2^t)
            deviation = torch._foreach_sqrt(square)
            torch._foreach_div_(deviation, (1 - beta2**self.steps) ** 0.5)
            torch._foreach_add_(deviation, self.epsilon)
            torch._foreach_addcdiv_(weights, mean, deviation, value=-step_size)

    def state_dict(self) -> dict[str, Any]:
        """Learning rate, step count and both moments."""
        return {
            **super().state_dict(),
            "steps": self.steps,
            "mean": [m.clone() for m in self.mean],
            "square": [s.clone() for s in self.square],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        super().load_state_dict(state)
        self.steps = state["steps"]
        for name in ("mean", "square"):
            for own, saved in zip(getattr(self, name), state[name], strict=True):
                own.copy_(saved)
