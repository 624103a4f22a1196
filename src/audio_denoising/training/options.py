"""All settings of a training run, in one typed place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..models import VERSIONS

AUGMENTATIONS = ("original", "wide", "varied")  # see `data.augment`, which takes time to load
PRECISIONS = ("fp32", "bf16")
OPTIONS = {  # whose names on the command line are other ones
    "learning_rate": "--lr",
    "warmup_steps": "--warmup",
    "augmentation": "--augment",
    "save_seconds": "--save-every",
}
_OWN: Any = None  # the version's own, which `TrainingOptions` puts in


@dataclass(frozen=True)
class TrainingOptions:
    """What decides the result of a run.

    Attributes:
        version: "v2", "v3", "v4" or "torch", which has a size, a number of epochs and a learning
            rate of its own; they are the defaults. size: "small" or "large".
        epochs: length of the run; epoch_size: mixtures per epoch, by default one for every speech
            recording.
        batch_size: mixtures behind one step, however many processes share them.
        learning_rate: the peak rate; schedule "constant" or "cosine" and `warmup_steps` shape it.
        momentum: of SGD. clip_norm: largest joint norm of the gradients, 0 for no limit.
        ema: decay of the moving average of the weights that is validated and kept, 0 for none.
        patience: epochs without a better validation after which the run ends, 0 for never.
        precision: "fp32", or "bf16" for products of bfloat16 numbers added up in float32; weights,
            gradients, optimiser and loss are float32 in both.
        seed: decides first weights, order and mixtures.
        augmentation: name of a preset, see `data.augment`.
        start_from: a version or a checkpoint whose weights are the first ones, not random ones.
        hold_out: speakers, noise sources or folders that validate instead of training.
        speech_weights, noise_weights: how often each of the folders is drawn from; None stands for
            its duration. None altogether is a single folder, whose speech is visited file by file.
    """

    version: str
    size: str = _OWN
    epochs: int = _OWN
    batch_size: int = 16
    epoch_size: int | None = None
    learning_rate: float = _OWN
    schedule: str = "constant"
    warmup_steps: int = 0
    momentum: float = 0.9
    clip_norm: float = 0.0
    ema: float = 0.0
    patience: int = 0
    precision: str = "fp32"
    seed: int = 0
    start_from: str | None = None
    hold_out: list[str] | None = None
    augmentation: str = "original"
    speech_weights: list[float | None] | None = None
    noise_weights: list[float | None] | None = None

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise UserError(
                f"unknown version {self.version!r}: choose one of {', '.join(VERSIONS)}"
            )
        row = VERSIONS[self.version]
        defaults = {"size": row.size, "epochs": row.epochs, "learning_rate": row.learning_rate}
        for name, default in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        if self.size not in row.sizes:
            raise UserError(f"unknown size {self.size!r}: choose one of {', '.join(row.sizes)}")
        if self.schedule not in ("constant", "cosine"):
            raise UserError(f"unknown schedule {self.schedule!r}: choose constant or cosine")
        if self.precision not in PRECISIONS:
            raise UserError(
                f"unknown precision {self.precision!r}: choose {' or '.join(PRECISIONS)}"
            )
        if self.augmentation not in AUGMENTATIONS:
            raise UserError(
                f"unknown augmentation {self.augmentation!r}: choose {', '.join(AUGMENTATIONS)}"
            )
        for name in ("epochs", "batch_size", "epoch_size", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:  # so put, NaN is refused too
                raise UserError(f"{option_name(name)} must be above 0")
        for name in ("warmup_steps", "momentum", "clip_norm", "ema", "patience", "seed"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{option_name(name)} must not be negative")
        if self.ema >= 1:
            raise UserError("--ema must be below 1, such as 0.999")
        if self.seed >= 2**63:
            raise UserError("--seed must be below 2**63")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as checkpoints and histories store them."""
        return asdict(self)


def completed(stored: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Options as a checkpoint of ``version`` stores them; one that did not exist yet when its run
    began had what is its default now."""
    return {**TrainingOptions(version).as_dict(), **stored}


@dataclass(frozen=True)
class RunPlace:
    """Where a run reads, writes and computes, and how; nothing here changes the result.

    Attributes:
        speech, noise: folders, or tar shards by path or address.
        cache: of decoded audio; None is the usual place, if it is there.
        accumulate: parts that a batch is computed in, one after the other, to save memory.
        recompute: whether activations are computed a second time instead of kept.
        save_seconds: how much time a kill may cost.
    """

    speech: Sequence[str | Path]
    noise: Sequence[str | Path]
    out: Path
    device: str = "auto"
    workers: int = 1
    resume: bool = False
    cache: Path | None = None
    accumulate: int = 1
    recompute: bool = False
    save_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UserError("--workers must not be negative: 0 decodes in the training process")
        if self.accumulate < 1:
            raise UserError("--accumulate must be above 0: 1 computes the batch in one piece")
        if not self.save_seconds >= 0:
            raise UserError("--save-every must not be negative: 0 saves after every step")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for whoever asks later how this run was made; `out` and `resume` aside."""
        return {
            "speech": [str(place) for place in self.speech],
            "noise": [str(place) for place in self.noise],
            "device": self.device,
            "workers": self.workers,
            "cache": str(self.cache) if self.cache else None,
            "accumulate": self.accumulate,
            "recompute": self.recompute,
            "save_seconds": self.save_seconds,
        }


def option_name(name: str) -> str:
    """What an attribute of these classes is called on the command line."""
    return OPTIONS.get(name, f"--{name.replace('_', '-')}")
