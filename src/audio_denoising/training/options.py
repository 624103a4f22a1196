"""What a training run is: the settings that decide its result, where it runs, among how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from audio_denoising.corpora.sources import is_shards
from audio_denoising.errors import UserError
from audio_denoising.folders import refuse_file
from audio_denoising.mixing.recipe import PRESETS
from audio_denoising.models import VERSIONS

RICH = "rich"  # the preset of v5
SCHEDULES = ("constant", "linear-end", "cosine")  # see `nn.optimisers`, likewise
OPTIONS = {  # whose names on the command line are other ones
    "learning_rate": "--lr",
    "warmup_steps": "--warmup",
    "augmentation": "--augment",
    "save_seconds": "--save-every",
}
_OWN: Any = None  # the version's own, which `TrainingOptions` puts in


@dataclass(frozen=True)
class TrainingOptions:
    """What decides the result of a run: options of `denoise train`, which explains them.

    What is left out has the version's own value, a row of `models.VERSIONS`. No images are longer
    or shorter than 2.55 s. ``epoch_size`` None stands for the number of speech recordings, 0 for no
    limit (`clip_norm`), no average (`ema`) and never (`patience`).

    Attributes:
        speech_weights, noise_weights: how often each of the folders is drawn from; None stands for
            its size. None altogether is a single folder, whose speech is visited file by file.

    Raises:
        UserError: a value makes no sense; the sentence names the option.
    """

    version: str
    size: str = _OWN
    epochs: int = _OWN
    batch_size: int = _OWN
    epoch_size: int | None = None
    clip_seconds: float = _OWN
    learning_rate: float = _OWN
    schedule: str = _OWN
    warmup_steps: int = _OWN
    momentum: float = 0.9
    clip_norm: float = _OWN
    ema: float = _OWN
    patience: int = 0
    seed: int = 0
    start_from: str | None = None
    hold_out: list[str] | None = None
    augmentation: str = _OWN
    speech_weights: list[float | None] | None = None
    noise_weights: list[float | None] | None = None
    perceptual: float = 0.0

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise UserError(
                f"unknown version {self.version!r}: choose one of {', '.join(VERSIONS)}"
            )
        row = VERSIONS[self.version]
        for each in fields(self):
            if getattr(self, each.name) is None:
                object.__setattr__(self, each.name, getattr(row, each.name, None))
        hears_spectra = row.causal
        for name, known in {
            "size": row.sizes,
            "schedule": SCHEDULES,
            "augmentation": [name for name in PRESETS if (name == RICH) == hears_spectra],
        }.items():
            if getattr(self, name) not in known:
                raise UserError(
                    f"unknown {name} {getattr(self, name)!r} for {self.version}: choose one of "
                    f"{', '.join(known)}"
                )
        if hears_spectra and not 0.1 <= self.clip_seconds <= 60:
            raise UserError("--clip-seconds must be from 0.1 to 60")
        if not hears_spectra and self.clip_seconds != row.clip_seconds:
            raise UserError(
                f"{self.version} hears clips of {row.clip_seconds} s: leave --clip-seconds out"
            )
        for name in ("epochs", "batch_size", "epoch_size", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:  # so put, NaN is refused too
                raise UserError(f"{option_name(name)} must be above 0")
        if self.perceptual and not hears_spectra:
            raise UserError("--perceptual is for v5: the other versions see no spectra")
        for name in (
            "warmup_steps", "momentum", "clip_norm", "ema", "patience", "seed", "perceptual",
        ):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise UserError(f"{option_name(name)} must not be negative")
        if self.ema >= 1:
            raise UserError("--ema must be below 1, such as 0.999")
        if self.seed >= 2**63:
            raise UserError("--seed must be below 2**63")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as checkpoints and histories store them."""
        return asdict(self)


def option_name(name: str) -> str:
    """What an attribute of these classes is called on the command line."""
    return OPTIONS.get(name, f"--{name.replace('_', '-')}")


@dataclass(frozen=True)
class RunPlace:
    """Where a run reads, writes and computes, and how; nothing here changes the result.

    `denoise train` explains these, too.
    """

    speech: Sequence[str | Path]  # folders, or tar shards by path or address
    noise: Sequence[str | Path]
    out: Path
    device: str = "auto"
    resume: bool = False
    cache: Path | None = None  # the usual one, see `material.decoded`
    accumulate: int = 1
    recompute: bool = False
    save_seconds: float = 120.0
    rooms: Sequence[str | Path] = ()

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise UserError("--accumulate must be above 0: 1 computes the batch in one piece")
        if not self.save_seconds >= 0:
            raise UserError("--save-every must not be negative: 0 saves after every step")

    def check(self, options: TrainingOptions, count: int = 1) -> None:
        """Refuses what does not go together, here or among ``count`` processes.

        Raises:
            UserError: it does not; the sentence names the option.
        """
        rich, size = options.augmentation == RICH, options.batch_size
        if self.rooms and not rich:
            raise UserError("--rooms is for v5; --augment varied makes rooms for other versions")
        if rich and options.schedule == "linear-end" and size % (2 * count):
            raise UserError(
                f"--batch-size {size} must be a multiple of {2 * count}: the last clips are twice "
                "as long and half as many"
            )
        if size % count:
            raise UserError(
                f"--batch-size {size} cannot be divided among {count} processes: choose a multiple "
                f"of {count}"
            )
        if options.epoch_size is not None:
            require_batch(options.epoch_size, size)
        kinds = {is_shards(str(each)) for each in (*self.speech, *self.noise)}
        if len(kinds) > 1:
            raise UserError(
                "--speech and --noise name both folders and tar shards: write the folders as "
                "shards with `denoise data shard`, or leave the shards out"
            )
        if rich and kinds == {True}:
            raise UserError(f"{options.version} trains from folders: give those of the shards")
        weights = [*(options.speech_weights or ()), *(options.noise_weights or ())]
        if kinds == {True} and (options.hold_out or any(weights)):
            raise UserError("--hold-out and weights are for folders: shards are read as they come")
        if self.cache is not None:
            refuse_file(self.cache, "--cache")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for whoever asks later how this run was made; `out` and `resume` aside."""
        plain = {**vars(self), "cache": str(self.cache) if self.cache else None}
        for name in ("speech", "noise", "rooms"):
            plain[name] = [str(place) for place in plain[name]]
        return {name: value for name, value in plain.items() if name not in ("out", "resume")}


def require_batch(mixtures: int, batch_size: int) -> None:
    """Raises UserError if an epoch of so many mixtures is less than a batch."""
    if mixtures < batch_size:
        raise UserError(
            f"an epoch of {mixtures} mixtures does not fill one batch of {batch_size}: lower "
            "--batch-size or raise --epoch-size"
        )


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them: `rank` from 0, `count` in all."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files and talks to people."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Every value added up over all processes, in double precision.

        Raises:
            UserError: another process is gone.
        """
        if self.count == 1:
            return list(values)
        from audio_denoising.training.distributed import add_up

        return add_up(values)


ALONE = Processes()
