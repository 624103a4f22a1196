"""A network with its loss and optimiser: everything that one training step touches.

Two learners with one interface: ours, where forward, backward and the update are our own code, and
the baseline, where they are torch.nn, autograd and torch.optim. The loop cannot tell them apart.

What it hears and what it is compared with are made by its representation
(`dsp.representation`), images or spectra; no step asks which.

Everything is float32, on GPUs as well, where libraries would silently round operands to 11 bits
(TF32).

However a batch is divided, into `parts` that follow each other or among processes, the step is the
same: gradients are weighted sums over all its mixtures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.dsp.representation import CompressedSpectrum, DecibelImage, Representation
from audio_denoising.errors import UserError
from audio_denoising.models import COMPRESSED_SPECTRUM, VERSIONS, Version, build, build_twin
from audio_denoising.training.distributed import ALONE, GradientMean, Processes
from audio_denoising.training.options import TrainingOptions

LOSSES = {"MSE": nn.MSELoss, "L1": nn.L1Loss}
LIBRARY_LOSSES = {"MSE": torch.nn.MSELoss, "L1": torch.nn.L1Loss}
WEIGHT_DECAY = 0.01  # of AdamW, on matrices alone: gains and offsets have no reason to be small


class Step(NamedTuple):
    """What a training step found: scalars, and the prediction made before the update."""

    loss: Tensor
    prediction: Tensor
    gradient_norm: Tensor  # before clipping; over the whole batch, on every process
    taken: bool  # False: the gradient was not a number, and nothing was changed


class Learner(Protocol):
    """What the training loop needs. `heard` and `target` are those of the representation."""

    device: torch.device
    representation: Representation

    @property
    def model(self) -> Any:
        """The network."""

    def step(self, heard: Any, target: Tensor, learning_rate: float) -> Step:
        """One training step on this process's share of a batch.

        Raises:
            UserError: another process is gone.
        """

    def weights(self) -> list[Tensor]:
        """The tensors that a step changes, in a fixed order."""

    def predict(self, heard: Any) -> Tensor:
        """The network's answer; changes nothing."""

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
        self.model = build(options.version, options.size).to(device=device)
        if recompute:
            nn.recompute_levels(self.model)
        self.representation = _representation(row, LOSSES, device)
        parameters = self.model.parameters()
        self.optimiser = _optimiser(row, parameters, options)
        self.mean = GradientMean(parameters, processes)

    def step(self, heard: Any, target: Tensor, learning_rate: float) -> Step:
        """Forward, loss, backward by hand, clip, update."""
        losses, predictions = [], []
        hearing = self.representation
        with torch.inference_mode():
            self.model.train()
            self.optimiser.zero_grad()
            for source, aim, share, is_last in _parts(heard, target, self.parts):
                predictions.append(self.model(hearing.features(source)))
                loss = hearing.loss(predictions[-1], source, aim) * share
                losses.append(loss)
                if is_last:
                    self.mean.start()
                self.model.backward(hearing.gradient() * (share * _one(loss)))
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

    def predict(self, heard: Any) -> Tensor:
        """The network's answer."""
        with torch.inference_mode():
            return self.model.eval()(self.representation.features(heard))

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

        from audio_denoising.models.unet_torch import recompute_levels

        row = VERSIONS[options.version]
        self.device = device
        self.parts = parts
        self.clip_norm = options.clip_norm
        torch.backends.cudnn.allow_tf32 = False
        self.model = build_twin(options.version, options.size)
        self.model.to(device=device, memory_format=torch.channels_last)
        if recompute:
            recompute_levels(self.model)
        self.shared = DistributedDataParallel(self.model) if processes.count > 1 else None
        self.representation = _representation(row, LIBRARY_LOSSES, device)
        self.optimiser = _library_optimiser(row, self.model, options)

    def step(self, heard: Any, target: Tensor, learning_rate: float) -> Step:
        """The textbook torch step."""
        losses, predictions = [], []
        hearing = self.representation
        self.model.train()
        self.optimiser.zero_grad()
        for source, aim, share, is_last in _parts(heard, target, self.parts):
            # Gradients travel with the last part, when they are complete.
            quiet = nullcontext() if is_last or self.shared is None else self.shared.no_sync()
            with quiet:
                prediction = (self.shared or self.model)(hearing.features(source))
                loss = hearing.loss(prediction, source, aim) * share
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

    def predict(self, heard: Any) -> Tensor:
        """The network's answer."""
        with torch.inference_mode():
            prediction: Tensor = self.model.eval()(self.representation.features(heard))
        return prediction

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

    Raises:
        UserError: a version that normalises over whole batches shall compute them in parts.
    """
    torch.manual_seed(options.seed)
    if VERSIONS[options.version].hears == COMPRESSED_SPECTRUM and (parts > 1 or recompute):
        raise UserError(
            f"{options.version} normalises over whole batches: lower --batch-size and leave "
            "--accumulate and --recompute out"
        )
    kind = TorchLearner if VERSIONS[options.version].engine == "torch.nn" else ScratchLearner
    return kind(options, device, parts=parts, recompute=recompute, processes=processes)


def _representation(
    row: Version, losses: Mapping[str, Callable[[], Any]], device: torch.device
) -> Representation:
    if row.hears == COMPRESSED_SPECTRUM:
        return CompressedSpectrum(device)
    return DecibelImage(losses[row.loss]())


def _optimiser(
    row: Version, parameters: list[nn.Parameter], options: TrainingOptions
) -> nn.Optimiser:
    rate = options.learning_rate
    if row.optimiser == "SGD":
        return nn.SGD(parameters, rate, momentum=options.momentum)
    if row.optimiser == "Adam":
        return nn.Adam(parameters, rate)
    decayed = [parameter for parameter in parameters if parameter.data.dim() > 1]
    return nn.Adam(parameters, rate, weight_decay=WEIGHT_DECAY, decoupled=True, decayed=decayed)


def _library_optimiser(row: Version, model: torch.nn.Module, options: TrainingOptions) -> Any:
    if row.optimiser != "AdamW":
        return torch.optim.Adam(model.parameters(), options.learning_rate)
    matrices, others = (
        [p for p in model.parameters() if (p.dim() > 1) is wanted] for wanted in (True, False)
    )
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, options.learning_rate, weight_decay=WEIGHT_DECAY)


def _parts(heard: Any, target: Tensor, count: int) -> Iterator[tuple[Any, Tensor, float, bool]]:
    """The batch in at most `count` parts: heard, target, share of the batch, whether it is last."""
    if count == 1:
        yield heard, target, 1.0, True
        return
    pairs = list(zip(heard.chunk(count), target.chunk(count), strict=True))
    for number, (source, aim) in enumerate(pairs, 1):
        yield source, aim, len(source) / len(heard), number == len(pairs)


def _one(loss: Tensor) -> Tensor:
    """1, or not a number where the loss is not: so every process hears of it by the gradients."""
    return 1 + 0 * loss.detach()
