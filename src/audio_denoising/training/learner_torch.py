"""The baseline learner: the torch.nn twin, autograd and torch.optim, set up as is fastest."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor

from audio_denoising.models import VERSIONS
from audio_denoising.models.twin import build_twin, recompute_levels
from audio_denoising.training.learner import WEIGHT_DECAY, Learner, Step, in_parts, one
from audio_denoising.training.options import Processes, TrainingOptions


class TorchLearner(Learner):
    """The same step, as a textbook on torch.nn has it."""

    criteria: ClassVar[dict[str, Any]] = {"MSE": torch.nn.MSELoss, "L1": torch.nn.L1Loss}

    def _build(
        self, options: TrainingOptions, recompute: bool, processes: Processes
    ) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        from torch.nn.parallel import DistributedDataParallel

        torch.backends.cudnn.allow_tf32 = False
        model = build_twin(options.version, options.size)
        model.to(device=self.device, memory_format=torch.channels_last)
        if recompute:
            recompute_levels(model)
        self.shared = DistributedDataParallel(model) if processes.count > 1 else None
        return model, _optimiser(model, options)

    def step(self, heard: Any, target: Tensor, learning_rate: float) -> Step:
        """Forward, loss, autograd, clip, update."""
        losses, predictions = [], []
        hearing = self.representation
        self.model.train()
        self.optimiser.zero_grad()
        for source, aim, share, is_last in in_parts(heard, target, self.parts):
            # Gradients travel with the last part, when they are complete.
            quiet = nullcontext() if is_last or self.shared is None else self.shared.no_sync()
            with quiet:
                prediction = (self.shared or self.model)(hearing.features(source))
                loss = hearing.loss(prediction, source, aim) * share
                loss.backward(one(loss))
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


def _optimiser(model: torch.nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    rate = options.learning_rate
    if VERSIONS[options.version].optimiser != "AdamW":
        return torch.optim.Adam(model.parameters(), rate)
    matrices, others = (
        [p for p in model.parameters() if (p.dim() > 1) is wanted] for wanted in (True, False)
    )
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, rate, weight_decay=WEIGHT_DECAY)
