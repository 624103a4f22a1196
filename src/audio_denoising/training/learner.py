"""A network with its loss and optimiser: everything that one training step touches.

Two learners with one interface: ours, where forward, backward and the update are our own code, and
the baseline, where they are torch.nn, autograd and torch.optim. The loop cannot tell them apart.

With precision "bf16" the images of a training step are bfloat16, in which numbers have 8 bits, and
so are the operands of its products. Weights, their gradients, loss and optimiser are float32, and
so is all of `predict`: validation measures the weights that are saved, by the same ruler in both
precisions. With "fp32" everything is float32, on GPUs as well, where libraries would silently round
operands to 11 bits (TF32).

However a batch is divided, into `parts` that follow each other or among processes, the step is the
same: gradients are weighted sums over all its mixtures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .. import nn
from ..models import VERSIONS, build
from .distributed import ALONE, GradientMean, Processes
from .options import TrainingOptions

LOSSES = {"MSE": nn.MSELoss, "L1": nn.L1Loss}


class Step(NamedTuple):
    """What a training step found: scalars, and the prediction made before the update."""

    loss: Tensor
    prediction: Tensor
    gradient_norm: Tensor  # before clipping; over the whole batch, on every process
    taken: bool  # False: the gradient was not a number, and nothing was changed


class Learner(Protocol):
    """What the training loop needs. Images are (N, 1, F, T) in [0, 1]."""

    device: torch.device

    @property
    def model(self) -> Any:
        """The network."""

    def step(self, noisy: Tensor, clean: Tensor, learning_rate: float) -> Step:
        """One training step on this process's share of a batch.

        Raises:
            UserError: another process is gone.
        """

    def weights(self) -> list[Tensor]:
        """The tensors that a step changes, in a fixed order."""

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

    def __init__(
        self,
        options: TrainingOptions,
        device: torch.device,
        *,
        parts: int = 1,
        recompute: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        row = VERSIONS[options.version]
        self.device = device
        self.parts = parts
        self.clip_norm = options.clip_norm
        self.dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
        self.model = build(options.version, options.size).to(device=device)
        if recompute:
            nn.recompute_levels(self.model)
        self.criterion = LOSSES[row.loss]()
        parameters = self.model.parameters()
        self.optimiser: nn.Optimiser = (
            nn.Adam(parameters, options.learning_rate)
            if row.optimiser == "Adam"
            else nn.SGD(parameters, options.learning_rate, momentum=options.momentum)
        )
        self.mean = GradientMean(parameters, processes)

    def step(self, noisy: Tensor, clean: Tensor, learning_rate: float) -> Step:
        """Forward, loss, backward by hand, clip, update."""
        losses, predictions = [], []
        with torch.inference_mode():
            self.model.train()
            self.optimiser.zero_grad()
            for source, target, share, is_last in _parts(noisy, clean, self.parts):
                predictions.append(self.model(source.to(self.dtype)).float())
                loss = self.criterion(predictions[-1], target) * share
                losses.append(loss)
                if is_last:
                    self.mean.start()
                gradient = self.criterion.backward() * (share * _one(loss))
                self.model.backward(gradient.to(self.dtype))
            self.mean.finish()
            norm = self._clip()
            taken = math.isfinite(float(norm))
            if taken:
                self.optimiser.learning_rate = learning_rate
                self.optimiser.step()
        return Step(torch.stack(losses).sum(), torch.cat(predictions), norm, taken)

    def _clip(self) -> Tensor:
        parameters = self.optimiser.parameters
        if self.clip_norm:
            return nn.clip_gradient_norm(parameters, self.clip_norm)
        return nn.gradient_norm(parameters)

    def weights(self) -> list[Tensor]:
        """The parameters' tensors."""
        return [parameter.data for parameter in self.optimiser.parameters]

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

    def __init__(
        self,
        options: TrainingOptions,
        device: torch.device,
        *,
        parts: int = 1,
        recompute: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        from torch.nn.parallel import DistributedDataParallel

        from ..models.unet_torch import build_twin, recompute_levels

        row = VERSIONS[options.version]
        self.device = device
        self.parts = parts
        self.clip_norm = options.clip_norm
        self.mixed = torch.autocast(
            device.type, torch.bfloat16, enabled=options.precision == "bf16"
        )
        torch.backends.cudnn.allow_tf32 = False
        self.model = build_twin(options.version, options.size)
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recompute:
            recompute_levels(self.model)
        self.shared = DistributedDataParallel(self.model) if processes.count > 1 else None
        self.criterion = torch.nn.MSELoss() if row.loss == "MSE" else torch.nn.L1Loss()
        self.optimiser = torch.optim.Adam(self.model.parameters(), options.learning_rate)

    def step(self, noisy: Tensor, clean: Tensor, learning_rate: float) -> Step:
        """The textbook torch step."""
        losses, predictions = [], []
        self.model.train()
        self.optimiser.zero_grad()
        for source, target, share, is_last in _parts(noisy, clean, self.parts):
            # Gradients travel with the last part, when they are complete.
            quiet = nullcontext() if is_last or self.shared is None else self.shared.no_sync()
            with quiet:
                with self.mixed:
                    prediction = (self.shared or self.model)(source).float()
                loss = self.criterion(prediction, target) * share
                loss.backward(_one(loss))
            losses.append(loss.detach())
            predictions.append(prediction.detach())
        parameters = self.model.parameters()
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm or math.inf)
        taken = math.isfinite(float(norm))
        if taken:
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate
            self.optimiser.step()
        return Step(torch.stack(losses).sum(), torch.cat(predictions), norm, taken)

    def weights(self) -> list[Tensor]:
        """The parameters' tensors."""
        return [parameter.detach() for parameter in self.model.parameters()]

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


def build_learner(
    options: TrainingOptions,
    device: torch.device,
    *,
    parts: int = 1,
    recompute: bool = False,
    processes: Processes = ALONE,
) -> Learner:
    """The learner of a version, its first weights drawn from the options' seed.

    Args:
        parts: into which a batch is divided to save memory (gradient accumulation).
        recompute: whether activations are computed a second time instead of kept.
        processes: that share every batch.
    """
    torch.manual_seed(options.seed)
    kind = TorchLearner if VERSIONS[options.version].engine == "torch.nn" else ScratchLearner
    return kind(options, device, parts=parts, recompute=recompute, processes=processes)


def _parts(
    noisy: Tensor, clean: Tensor, count: int
) -> Iterator[tuple[Tensor, Tensor, float, bool]]:
    """The batch in at most `count` parts: noisy, clean, share of the batch, whether it is last."""
    pairs = list(zip(noisy.chunk(count), clean.chunk(count), strict=True))
    for number, (source, target) in enumerate(pairs, 1):
        yield source, target, len(source) / len(noisy), number == len(pairs)


def _one(loss: Tensor) -> Tensor:
    """1, or not a number where the loss is not: so every process hears of it by the gradients."""
    return 1 + 0 * loss.detach()
