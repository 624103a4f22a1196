"""The weights that come with the package: which versions have some, and where all weights lie.

It loads no network and no torch, so that a wrong name is told at once.
"""

from __future__ import annotations

from pathlib import Path

from audio_denoising.errors import UserError

DEFAULT = "v4"
"""The version that cleans where nobody asks for another."""

SHIPPED = Path(__file__).resolve().parent.parent / "weights"


def shipped(version: str) -> Path:
    """Where the weights of a version lie that come with the package, if there are any."""
    return _all_shipped().get(version, SHIPPED / f"{version}.safetensors")


def has_weights(version: str) -> bool:
    """Whether weights of a version come with the package."""
    return shipped(version).is_file()


def locate(name_or_path: str | Path) -> Path:
    """The checkpoint file behind what a user gives for a model.

    Args:
        name_or_path: a version whose weights ship (``v4``), or a checkpoint file: anything that
            ends in ``.safetensors`` or ``.pth``, or names a folder.

    Raises:
        UserError: there is no such version, or no such file.
    """
    text = str(name_or_path)
    is_file = text.endswith((".safetensors", ".pth")) or Path(text).name != text
    if isinstance(name_or_path, Path) or is_file:
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
