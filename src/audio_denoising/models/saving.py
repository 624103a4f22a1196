"""The state of a training as a file that says all about itself; `checkpoint` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from audio_denoising.dsp.signals import SIGNALS
from audio_denoising.files import save_whole
from audio_denoising.models import VERSIONS
from audio_denoising.models.header import FORMAT


def describe(version: str, size: str) -> dict[str, Any]:
    """The part of a checkpoint that says what it is for."""
    row = VERSIONS[version]
    return {
        "format": FORMAT,
        "version": version,
        "size": size,
        "widths": row.widths(size),
        "signal": dict(SIGNALS[row.hears]),
    }


def save_checkpoint(path: Path, content: dict[str, Any], former: Path | None = None) -> None:
    """Writes the state of a training; see `save_whole`."""

    def write(temporary: Path) -> None:
        # Through a file of Python's: in torch's own, the system's reason for a failure is lost.
        with temporary.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise

    save_whole(path, write, former)
