"""A network with its loss and optimiser: everything that one training step touches.

Two learners with one interface: ours, where forward, backward and the update are our own code, and
the baseline, where they are torch.nn, autograd and torch.optim. The loop cannot tell them apart.

With precision "bf16" the images of a training step are bfloat16, in which numbers have 8 bits, and
so are the operands of its products. Weights, their gradients, loss and optimiser are float32, and
so is all of `predict`: validation measures the weights that are saved, by the same ruler in both
precisions. With "fp32" everything is float32, on GPUs as well, where libraries would silently round
operands to 11 bits (TF32).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from .. import nn
from ..models import VERSIONS, build
from .options import TrainingOptions

LOSSES = {"MSE": nn.MSELoss, "L1": nn.L1Loss}


class Learner(Protocol):
    """What the training loop needs. Images are (N, 1, F, T) in [0, 1]."""

    device: torch.device

    @property
    def model(self) -> Any:
        """The network."""

    def step(self, noisy: Tensor, clean: Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        """One training step; returns the loss (scalar) and the prediction made before it."""

    def predict(self, noisy: Tensor) -> Tensor:
        """The cleaned image; changes nothing."""

    def loss(self, prediction: Tensor, clean: Tensor) -> Tensor:
        """The loss that is trained on, as a scalar tensor."""

    def state_dict(self) -> dict[str, Any]:
        """Model and optimiser: all that a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""


class ScratchLearner:
    """Our engine. Runs under inference mode, where autograd could not help if it wanted to."""

    def __init__(self, options: TrainingOptions, device: torch.device) -> None:
        row = VERSIONS[options.version]
        self.device = device
        self.clip_norm = options.clip_norm
        self.dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
        self.model = build(options.version, options.size).to(device=device)
        self.criterion = LOSSES[row.loss]()
        parameters = self.model.parameters()
        self.optimiser: nn.Optimiser = (
            nn.Adam(parameters, options.learning_rate)
            if row.optimiser == "Adam"
            else nn.SGD(parameters, options.learning_rate, momentum=options.momentum)
        )

    def step(self, noisy: Tensor, clean: Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        """Forward, loss, backward by hand, clip, update."""
        with torch.inference_mode():
            self.model.train()
            self.optimiser.zero_grad()
            prediction = self.model(noisy.to(self.dtype)).float()
            loss = self.criterion(prediction, clean)
            self.model.backward(self.criterion.backward().to(self.dtype))
            if self.clip_norm:
                nn.clip_gradient_norm(self.optimiser.parameters, self.clip_norm)
            self.optimiser.learning_rate = learning_rate
            self.optimiser.step()
        return loss, prediction

    def predict(self, noisy: Tensor) -> Tensor:
        """The cleaned image."""
        with torch.inference_mode():
            return self.model.eval()(noisy)

    def loss(self, prediction: Tensor, clean: Tensor) -> Tensor:
        """The training loss of a prediction."""
        return self.criterion(prediction, clean)

    def state_dict(self) -> dict[str, Any]:
        """Model and optimiser."""
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])


class TorchLearner:
    """The baseline: the torch.nn twin, autograd and torch.optim, set up the way that is fastest."""

    def __init__(self, options: TrainingOptions, device: torch.device) -> None:
        from ..models.unet_torch import build_twin

        row = VERSIONS[options.version]
        self.device = device
        self.clip_norm = options.clip_norm
        self.mixed = torch.autocast(
            device.type, torch.bfloat16, enabled=options.precision == "bf16"
        )
        torch.backends.cudnn.allow_tf32 = False
        self.model = build_twin(options.version, options.size)
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.criterion = torch.nn.MSELoss() if row.loss == "MSE" else torch.nn.L1Loss()
        self.optimiser = torch.optim.Adam(self.model.parameters(), options.learning_rate)

    def step(self, noisy: Tensor, clean: Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        """The textbook torch step."""
        self.model.train()
        self.optimiser.zero_grad()
        with self.mixed:
            prediction = self.model(noisy).float()
        loss = self.criterion(prediction, clean)
        loss.backward()
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        return loss.detach(), prediction.detach()

    def predict(self, noisy: Tensor) -> Tensor:
        """The cleaned image."""
        with torch.inference_mode():
            prediction: Tensor = self.model.eval()(noisy)
        return prediction

    def loss(self, prediction: Tensor, clean: Tensor) -> Tensor:
        """The training loss of a prediction."""
        value: Tensor = self.criterion(prediction, clean)
        return value

    def state_dict(self) -> dict[str, Any]:
        """Model and optimiser."""
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])


def build_learner(options: TrainingOptions, device: torch.device) -> Learner:
    """The learner of a version, its first weights drawn from the options' seed."""
    torch.manual_seed(options.seed)
    if VERSIONS[options.version].engine == "torch.nn":
        return TorchLearner(options, device)
    return ScratchLearner(options, device)
