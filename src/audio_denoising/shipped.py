"""The weights that come with the package: which versions have some, and where all weights lie.

It loads no network and no torch, so that a wrong name is told at once.
"""

from __future__ import annotations

from pathlib import Path

from .errors import UserError

SHIPPED = Path(__file__).resolve().parent / "checkpoints"


def shipped(version: str) -> Path:
    """Where the weights of a version lie that come with the package: v5 in its base size."""
    return SHIPPED / f"{version}-{'base' if version == 'v5' else 'small'}.pth"


def has_weights(version: str) -> bool:
    """Whether weights of a version come with the package."""
    return shipped(version).is_file()


def locate(name_or_path: str | Path) -> Path:
    """The checkpoint file behind what a user gives for a model.

    Args:
        name_or_path: a version whose weights ship (``v4``), or a checkpoint file: anything that
            ends in ``.pth`` or names a folder.

    Raises:
        UserError: there is no such version, or no such file.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".pth") or Path(text).name != text:
        if not Path(text).is_file():
            raise UserError(f"no checkpoint at {text}: check the name, or train one first")
        return Path(text)
    if not shipped(text).is_file():
        known = sorted(path.name.rpartition("-")[0] for path in SHIPPED.glob("*.pth"))
        raise UserError(
            f"there is no version {text}: choose one of {', '.join(known)}, or give a checkpoint "
            f"file whose name ends in .pth"
        )
    return shipped(text)
