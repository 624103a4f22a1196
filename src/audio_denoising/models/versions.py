"""Every version: its network, what that hears, the recipe that trains it, and what its weights may
be used for. A version is a row of a table; `locate` finds its weights, and `networks.build` makes
the network of any of them. Here no torch is loaded: a wrong name is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from audio_denoising.errors import UserError
from audio_denoising.models import causal, unet
from audio_denoising.paths import is_folder

WIDTHS = unet.WIDTHS

FREE = "any use"
NON_COMMERCIAL = "non-commercial use"  # how every licence with this condition begins

DEFAULT = "v5"  # the version that cleans where nobody asks for another

SHIPPED = Path(__file__).resolve().parent.parent / "weights"

WEIGHTS = "model.safetensors"
"""What the weights are called in a folder laid out as model hubs do (`models.hub`)."""

DECIBEL_IMAGE, COMPRESSED_SPECTRUM = "decibel image", "compressed spectrum"


@dataclass(frozen=True)
class Version:
    """One row of the table: what sets a version apart, and how it is trained unless told otherwise.

    What is not explained here is a default of `training.options.TrainingOptions`, and is there.
    """

    name: str
    hears: str  # `DECIBEL_IMAGE` or `COMPRESSED_SPECTRUM`, see `dsp.representation`
    plan: unet.Plan | None  # of a U-Net its blocks; None is the causal network
    size: str  # the default one, a key of `sizes`
    loss: str  # "MSE", "L1" or "compressed spectrum"
    optimiser: str  # "SGD", "Adam" or "AdamW", whose decay shrinks matrices alone
    learning_rate: float
    epochs: int
    # What the weights that ship may be used for.
    licence: str = f"{NON_COMMERCIAL} (trained on UrbanSound8K, CC BY-NC 3.0)"
    engine: str = "from scratch"  # or "torch.nn"
    batch_size: int = 16
    epoch_size: int | None = None
    schedule: str = "constant"
    warmup_steps: int = 0
    clip_norm: float = 0.0
    ema: float = 0.0
    augmentation: str = "original"
    clip_seconds: float = 2.55

    @property
    def causal(self) -> bool:
        """Whether it cleans from frame to frame, as only v5 does; the others hear images."""
        return self.hears == COMPRESSED_SPECTRUM

    @property
    def sizes(self) -> Mapping[str, Any]:
        """How large each size is, by its name."""
        return WIDTHS if self.plan else causal.SIZES

    def widths(self, size: str) -> list[int]:
        """The same as plain numbers; KeyError where there is no such size."""
        found = self.sizes[size]
        return list(found if self.plan else astuple(found))


_V2_PLAN = unet.Plan("max-pool 2x2", "ReLU", "transposed conv 3x3")
_V4_PLAN = unet.Plan("strided conv 3x3", "LeakyReLU", "transposed conv 2x2")

_ROWS = (
    Version("v2", DECIBEL_IMAGE, _V2_PLAN, "small", "MSE", "SGD", 1e-4, 50),
    Version("v3", DECIBEL_IMAGE, _V2_PLAN, "large", "L1", "SGD", 1e-3, 10),
    Version("v4", DECIBEL_IMAGE, _V4_PLAN, "large", "L1", "Adam", 1e-4, 50),
    Version("torch", DECIBEL_IMAGE, _V4_PLAN, "large", "L1", "Adam", 1e-4, 50, engine="torch.nn"),
    Version(
        "v5", COMPRESSED_SPECTRUM, None, "base", "compressed spectrum", "AdamW", 1e-3, 200, FREE,
        batch_size=4, epoch_size=8000, schedule="linear-end", warmup_steps=500, clip_norm=3.0,
        ema=0.9995, augmentation="rich", clip_seconds=2.0,
    ),
)  # fmt: skip

VERSIONS = {row.name: row for row in _ROWS}


def shipped(version: str) -> Path:
    """Where the weights of a version lie that come with the package, if there are any."""
    return _all_shipped().get(version, SHIPPED / f"{version}.safetensors")


def has_weights(version: str) -> bool:
    """Whether weights of a version come with the package."""
    return shipped(version).is_file()


def require_causal(version: str, what: str) -> None:
    """Refuses the version of a network that does not go from frame to frame, as ``what`` has to."""
    if not VERSIONS[version].causal:
        raise UserError(
            f"{version} hears images of 2.55 s, and {what} needs a network that hears frame after "
            f"frame: choose v5, or a checkpoint of it"
        )


def title_of(source: str) -> str:
    """What tables call a model: a checkpoint goes by file and folder, as many are best.pth."""
    return "/".join(Path(source).parts[-2:])


def locate(name_or_path: str | Path) -> Path:
    """The checkpoint file behind what a user gives for a model.

    That is a version whose weights ship (``v5``), or a checkpoint file: anything that ends in
    ``.safetensors`` or ``.pth``, or has a folder in its name; or such a folder with
    ``model.safetensors`` in it. UserError where there is none.
    """
    text = str(name_or_path)
    is_file = text.endswith((".safetensors", ".pth")) or Path(text).name != text
    if isinstance(name_or_path, Path) or is_file:
        if is_folder(Path(text)) and (Path(text) / WEIGHTS).is_file():
            return Path(text) / WEIGHTS
        if not Path(text).is_file():
            raise UserError(f"no checkpoint at {text}: check the name, or train one first")
        return Path(text)
    if not shipped(text).is_file():
        raise UserError(
            f"there is no version {text}: choose one of {', '.join(_all_shipped())}, or give a "
            f"checkpoint file whose name ends in .safetensors or .pth"
        )
    return shipped(text)


def _all_shipped() -> dict[str, Path]:
    """Versions and their weights, which are called VERSION-SIZE; torch, the twin, last."""
    found = SHIPPED.glob("*-*.safetensors")
    paths = sorted(found, key=lambda path: (path.stem.startswith("torch"), path))
    return {path.stem.rpartition("-")[0]: path for path in paths}
