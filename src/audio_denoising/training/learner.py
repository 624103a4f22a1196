"""A network with its loss and optimiser: everything that one training step touches.

Two learners with one interface: ours, here, where forward, backward and the update are our own
code, and the baseline (`learner_torch`), where they are torch.nn, autograd and torch.optim. The
loop cannot tell them apart. What a network hears and what its answer is compared with are made by
its representation (`dsp.representation`), images or spectra; no step asks which.

Everything is float32, on GPUs as well, where libraries would silently round operands to 11 bits
(TF32).

However a batch is divided, into `parts` that follow each other or among processes, the step is the
same: gradients are weighted sums over all its mixtures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.dsp.representation import CompressedSpectrum, Representation
from audio_denoising.dsp.spectrum import DecibelImage
from audio_denoising.errors import UserError
from audio_denoising.models import VERSIONS, build
from audio_denoising.training.options import ALONE, Processes, TrainingOptions

WEIGHT_DECAY = 0.01  # of AdamW, on matrices alone: gains and offsets have no reason to be small


class Step(NamedTuple):
    """What a training step found: scalars, and the prediction made before the update."""

    loss: Tensor
    prediction: Tensor
    gradient_norm: Tensor  # before clipping; over the whole batch, on every process
    taken: bool  # False: the gradient was not a number, and nothing was changed


class Learner:
    """Our engine, under inference mode, where autograd could not help if it wanted to.

    To save memory a batch is divided into ``parts`` (gradient accumulation), and activations are
    computed a second time instead of kept (``recompute``).
    """

    criteria: ClassVar[dict[str, Any]] = {"MSE": nn.MSELoss, "L1": nn.L1Loss}  # of two images

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
        self.device, self.parts, self.clip_norm = device, parts, options.clip_norm
        self.representation: Representation
        if row.causal:
            self.representation = CompressedSpectrum(device, options.perceptual)
        else:
            self.representation = DecibelImage(self.criteria[row.loss]())
        self.model, self.optimiser = self._build(options, recompute, processes)

    def _build(
        self, options: TrainingOptions, recompute: bool, processes: Processes
    ) -> tuple[Any, Any]:
        """Network and optimiser."""
        model = build(options.version, options.size).to(device=self.device)
        if recompute:
            nn.recompute_levels(model)
        parameters = model.parameters()
        self.mean = None
        if processes.count > 1:
            from audio_denoising.training.distributed import GradientMean, mean_over_processes

            self.mean = GradientMean(parameters, processes)
            for layer in model.modules():
                if isinstance(layer, nn.BatchNorm):
                    layer.processes = processes.count
                    layer.mean_over_processes = mean_over_processes
        return model, _optimiser(parameters, options)

    def step(self, heard: Any, target: Tensor, learning_rate: float) -> Step:
        """Forward, loss, backward by hand, clip, update: a training step on this process's share of
        a batch, as the representation hears it.

        Raises:
            UserError: another process is gone.
        """
        losses, predictions = [], []
        hearing = self.representation
        with torch.inference_mode():
            self.model.train()
            self.optimiser.zero_grad()
            for source, aim, share, is_last in in_parts(heard, target, self.parts):
                predictions.append(self.model(hearing.features(source)))
                loss = hearing.loss(predictions[-1], source, aim) * share
                losses.append(loss)
                if self.mean and is_last:
                    self.mean.start()
                self.model.backward(hearing.gradient() * (share * one(loss)))
            if self.mean:
                self.mean.finish()
            parameters = self.optimiser.parameters
            if self.clip_norm:
                norm = nn.clip_gradient_norm(parameters, self.clip_norm)
            else:
                norm = nn.gradient_norm(parameters)
            taken = math.isfinite(float(norm))
            if taken:
                self.optimiser.learning_rate = learning_rate
                self.optimiser.step()
        return Step(torch.stack(losses).sum(), torch.cat(predictions), norm, taken)

    def predict(self, heard: Any) -> Tensor:
        """The network's answer; changes nothing."""
        with torch.inference_mode():
            prediction: Tensor = self.model.eval()(self.representation.features(heard))
        return prediction

    def weights(self) -> list[Tensor]:
        """The tensors that a step changes, running moments among them, in a fixed order."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return [tensor.data for tensor in tensors if tensor.data.is_floating_point()]

    def state_dict(self) -> dict[str, Any]:
        """Model and optimiser: all that a resumed run needs."""
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])


def build_learner(options: TrainingOptions, device: torch.device, **ways: Any) -> Learner:
    """The learner of a version, its first weights drawn from the options' seed.

    Raises:
        UserError: a version that normalises over whole batches shall compute them in parts.
    """
    row = VERSIONS[options.version]
    divided = ways.get("parts", 1) > 1 or ways.get("recompute", False)
    if row.causal and divided:
        raise UserError(
            f"{options.version} normalises over whole batches: lower --batch-size and leave "
            "--accumulate and --recompute out"
        )
    torch.manual_seed(options.seed)
    if row.engine == "torch.nn":
        from audio_denoising.training.learner_torch import TorchLearner

        return TorchLearner(options, device, **ways)
    return Learner(options, device, **ways)


def _optimiser(parameters: list[nn.Parameter], options: TrainingOptions) -> nn.Optimiser:
    rate, kind = options.learning_rate, VERSIONS[options.version].optimiser
    if kind == "SGD":
        return nn.SGD(parameters, rate, momentum=options.momentum)
    if kind == "Adam":
        return nn.Adam(parameters, rate)
    decayed = [parameter for parameter in parameters if parameter.data.dim() > 1]
    return nn.Adam(parameters, rate, weight_decay=WEIGHT_DECAY, decayed=decayed)


def in_parts(heard: Any, target: Tensor, count: int) -> Iterator[tuple[Any, Tensor, float, bool]]:
    """The batch in at most `count` parts: heard, target, share of the batch, whether it is last."""
    if count == 1:
        yield heard, target, 1.0, True
        return
    pairs = list(zip(heard.chunk(count), target.chunk(count), strict=True))
    for number, (source, aim) in enumerate(pairs, 1):
        yield source, aim, len(source) / len(heard), number == len(pairs)


def one(loss: Tensor) -> Tensor:
    """1, or not a number where the loss is not: so every process hears of it by the gradients."""
    return 1 + 0 * loss.detach()
