"""How a run goes on from its newest checkpoint, or begins with the weights of another one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_denoising.errors import UserError, UserNotice
from audio_denoising.models.versions import locate
from audio_denoising.training.options import RICH, TrainingOptions
from audio_denoising.training.run_folder import POSITION, RunFolder

if TYPE_CHECKING:  # with torch behind them, which a refusal need not wait for
    from audio_denoising.models.header import Checkpoint
    from audio_denoising.training.trainer import Trainer

# What a run of v5 without an end may change its mind about.
_STEERED = {"perceptual", "speech_weights", "noise_weights"}


def require_usable(folder: RunFolder, options: TrainingOptions) -> None:
    """Refuses checkpoints that a run cannot use, as far as that shows without torch.

    Raises:
        UserError: neither of a run's own is whole, or the one to start from is for another network.
    """
    if folder.holds_a_run:
        if not (_is_whole(folder.last) or _is_whole(folder.previous)):
            raise _lost(folder)
    elif options.start_from is not None:
        path = locate(options.start_from)
        from audio_denoising.models.header import read_checkpoint  # and NumPy with it

        found = read_checkpoint(path)
        _require_weights(path, found.version, found.size, options)


def completed(stored: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Options as a checkpoint of ``version`` stores them; one that did not exist yet when its run
    began had what is its default now."""
    return {**TrainingOptions(version).as_dict(), **stored}


def newest(folder: RunFolder) -> Checkpoint:
    """The newest checkpoint that can be read; a `UserNotice` tells where that is the previous.

    Raises:
        UserError: there is none, or it is not of this program.
    """
    from audio_denoising.models.checkpoint import load_checkpoint
    from audio_denoising.models.header import UnreadableCheckpoint

    try:
        return load_checkpoint(folder.last)
    except UnreadableCheckpoint:
        pass
    try:
        found = load_checkpoint(folder.previous)
    except UnreadableCheckpoint as error:
        raise _lost(folder) from error
    folder.last_is_damaged = True
    position = found.content.get("position", {})
    warnings.warn(
        f"{folder.last} is damaged or missing: the run goes on from {folder.previous}, step "
        f"{position.get('step', 0)}, and trains again what came after that",
        UserNotice,
        stacklevel=2,
    )
    return found


def start_from(trainer: Trainer, model: str) -> None:
    """Gives a new run the weights of a checkpoint, and its past.

    Raises:
        UserError: it is of another version or size.
    """
    from audio_denoising.models.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(locate(model))
    _require_weights(checkpoint.path, checkpoint.version, checkpoint.size, trainer.options)
    trainer.learner.model.load_state_dict(
        {name: value.float() for name, value in checkpoint.model_state.items()}
    )
    if trainer.average:
        trainer.average.resume(0)
    _inherit_licence(trainer, checkpoint)
    run = {"options": checkpoint.content.get("options", {}), "epochs": checkpoint.history}
    trainer.earlier = [*checkpoint.content.get("earlier", []), run]


def restore(trainer: Trainer) -> None:
    """Puts a run where its newest checkpoint left it.

    Raises:
        UserError: the checkpoint is of other options, or holds less than a run needs.
    """
    import torch

    from audio_denoising.dsp.constants import SAMPLE_RATE, SEGMENT
    from audio_denoising.training.trainer import Tally

    checkpoint = newest(trainer.folder)
    content, own = checkpoint.content, trainer.options.as_dict()
    theirs = completed(content.get("options", {}), trainer.options.version)
    # A run may be prolonged. One at constant rate, which has no end yet, may be brought to it, and
    # one of v5 may hear its folders in other shares or gain the perceptual term on the way.
    # Everything else that decides the result must be the same.
    free = {"epochs"}
    if theirs["schedule"] == "constant":
        free |= {"schedule"} if own["schedule"] == "linear-end" else set()
        free |= _STEERED if trainer.options.augmentation == RICH else set()
    different = [k for k in own if k not in free and theirs[k] != own[k]]
    if different:
        raise UserError(
            f"{checkpoint.path} was trained with another {', '.join(different)}: give the same "
            "options to resume it, or choose another --out"
        )
    if steered := [k for k in sorted(_STEERED) if theirs[k] != own[k]]:
        warnings.warn(
            f"{checkpoint.path} was trained with another {', '.join(steered)}: from here on the "
            "run goes by what is given",
            UserNotice,
            stacklevel=2,
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


def _inherit_licence(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """What weights have once heard they do not unlearn."""
    if checkpoint.non_commercial:
        trainer.licence = checkpoint.licence


def _require_weights(path: Path, version: str, size: str, options: TrainingOptions) -> None:
    if (version, size) != (options.version, options.size):
        raise UserError(
            f"{path} holds {version}-{size}, not {options.version}-{options.size}: start from "
            "another checkpoint"
        )


def _lost(folder: RunFolder) -> UserError:
    """What is left to somebody who has lost both checkpoints."""
    kept = sorted(folder.path.glob("epoch_*.pth"), reverse=True)
    whole = next(filter(_is_whole, (folder.path / "best.pth", *kept)), None)
    todo = "train again in another --out"
    if whole:
        todo = f"begin another --out with the weights of an earlier epoch, --start-from {whole}"
    return UserError(f"neither {folder.last} nor {folder.previous} can be read: {todo}")


def _is_whole(path: Path) -> bool:
    from audio_denoising.models.header import read_checkpoint

    try:
        read_checkpoint(path)
    except UserError:
        return False
    return True
