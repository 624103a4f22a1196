"""The state of a run: what its checkpoint carries, how one goes on from it, or starts from another.

It is a plain dictionary: weights, optimiser, position, sums of the running epoch, history, random
state, and the options and the place that the run had.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from audio_denoising.dsp.constants import SAMPLE_RATE, SEGMENT
from audio_denoising.errors import UserError, UserNotice
from audio_denoising.models.checkpoint import Checkpoint, describe
from audio_denoising.training.material import NON_COMMERCIAL
from audio_denoising.training.options import RICH, completed, require_weights

if TYPE_CHECKING:
    from audio_denoising.training.trainer import Trainer

POSITION = ("epoch", "batch", "step", "heard")  # of a run


@dataclass
class Tally:
    """Sums over the steps of the running epoch; a skipped step counts for nothing but itself.

    Attributes:
        loss, psnr: sums over the steps that were taken. taken, skipped: how many there were.
        seconds: spent on them.
    """

    loss: float = 0.0
    psnr: float = 0.0
    taken: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @property
    def mean_loss(self) -> float:
        """0 where no step was taken."""
        return self.loss / max(1, self.taken)

    @property
    def mean_psnr(self) -> float:
        """In dB, likewise."""
        return self.psnr / max(1, self.taken)


def content_of(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint carries: weights to clean with, and all that the next step depends on."""
    options = trainer.options
    content = {
        **describe(options.version, options.size),
        **trainer.learner.state_dict(),
        "options": options.as_dict(),
        "place": {
            **trainer.place.as_dict(),
            "device": str(trainer.device),
            "processes": trainer.processes.count,
        },
        "position": {name: getattr(trainer, name) for name in POSITION},
        "licence": trainer.licence or "as the recordings allow",
        "sums": asdict(trainer.tally),
        "skipped_in_a_row": trainer.skipped_in_a_row,
        "best": trainer.best,
        "history": list(trainer.history),
        "earlier": trainer.earlier,
        "rng": torch.get_rng_state(),
        "mixing": "banks",  # older runs of U-Nets drew mixtures in another way
    }
    if trainer.average:
        content["unaveraged_model"] = content["model"]
        with trainer.averaged():
            content["model"] = trainer.learner.state_dict()["model"]
        content["average_steps"] = trainer.average.steps
    return content


def start_from(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Gives a new run the weights of a checkpoint, and its past.

    Raises:
        UserError: it is of another version or size.
    """
    require_weights(checkpoint.path, checkpoint.version, checkpoint.size, trainer.options)
    trainer.learner.model.load_state_dict(
        {name: value.float() for name, value in checkpoint.model_state.items()}
    )
    if trainer.average:
        trainer.average.resume(0)
    _inherit_licence(trainer, checkpoint)
    run = {"options": checkpoint.content.get("options", {}), "epochs": checkpoint.history}
    trainer.earlier = [*checkpoint.content.get("earlier", []), run]


def _inherit_licence(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """What weights have once heard they do not unlearn."""
    licence = str(checkpoint.content.get("licence", ""))
    if licence.startswith(NON_COMMERCIAL):
        trainer.licence = licence


def restore(trainer: Trainer) -> None:
    """Puts a run where its newest checkpoint left it.

    Raises:
        UserError: the checkpoint is of other options, or holds less than a run needs.
    """
    checkpoint = trainer.folder.newest()
    content, own = checkpoint.content, trainer.options.as_dict()
    theirs = completed(content.get("options", {}), trainer.options.version)
    # A run may be prolonged, and one without an end be brought to it, with another weight of the
    # perceptual term; everything else that decides the result must be the same.
    free = {"epochs"}
    if {own["schedule"], theirs["schedule"]} == {"constant", "linear-end"}:
        free |= {"schedule", "perceptual"}
    different = [k for k in own if k not in free and theirs[k] != own[k]]
    if different:
        raise UserError(
            f"{checkpoint.path} was trained with another {', '.join(different)}: give the same "
            "options to resume it, or choose another --out"
        )
    if "mixing" not in content and trainer.options.augmentation != RICH:
        warnings.warn(
            f"{checkpoint.path} is of an earlier release: from here on the run hears its "
            "recordings in another order, and is judged by other mixtures of them",
            UserNotice,
            stacklevel=2,
        )
    _inherit_licence(trainer, checkpoint)
    try:
        trainer.learner.load_state_dict(content)
        if trainer.average:
            trainer.average.resume(content["average_steps"])
            trainer.learner.model.load_state_dict(content["unaveraged_model"])
        # Older runs did not count what they heard: images, all of them.
        images = content["position"]["step"] * trainer.options.batch_size * SEGMENT / SAMPLE_RATE
        position = {"heard": images, **content["position"]}
        trainer.epoch, trainer.batch, trainer.step, trainer.heard = (position[k] for k in POSITION)
        # Nor did they count the steps of an epoch that were taken: all were.
        trainer.tally = Tally(**{"taken": trainer.batch, **content["sums"]})
        trainer.skipped_in_a_row = content.get("skipped_in_a_row", 0)
        trainer.best = content["best"]
        trainer.history = checkpoint.history
        trainer.earlier = list(content.get("earlier", []))
        torch.set_rng_state(content["rng"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{checkpoint.path} does not hold all that a run needs to go on (an exported one "
            "does not): use its weights with --start-from and another --out"
        ) from error
