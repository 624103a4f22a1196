"""What a checkpoint says of itself, and whether it is whole: all that can be told without torch, so
that a wrong file is told at once.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from audio_denoising.dsp.signals import SIGNALS
from audio_denoising.errors import UserError
from audio_denoising.models.archive import read_archive
from audio_denoising.models.shapes import shapes
from audio_denoising.models.versions import NON_COMMERCIAL, VERSIONS, shipped

FORMAT = 1

# What something of another type leads to, in a place where this program writes something.
ODD = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)


class UnreadableCheckpoint(UserError):
    """A checkpoint that is missing or damaged; one that was written before it may be whole."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a network and how they came to be, read and checked.

    Attributes:
        model_state: all weights and moments by name: tensors on the CPU; or, where no torch was
            loaded, arrays, or of a `.pth` file, whose tensors only torch can read, `Outline`.
        steps: of training, behind the weights.
        content: everything, for a run that resumes.
    """

    path: Path
    version: str
    size: str
    model_state: Mapping[str, Any]
    history: list[dict[str, Any]]
    steps: int
    content: dict[str, Any]

    @property
    def licence(self) -> str:
        """What the weights may be used for; empty where nobody has said so."""
        known = VERSIONS[self.version].licence if self.path == shipped(self.version) else ""
        return str(self.content.get("licence") or known)

    @property
    def non_commercial(self) -> bool:
        """Whether recordings that it heard forbid any other use."""
        return self.licence.startswith(NON_COMMERCIAL)

    def licensed(self, licence: str) -> Checkpoint:
        """The same under a licence of one's own; UserError if it is `non_commercial`."""
        if self.non_commercial:
            raise UserError(f"{self.path} can have no other licence than that: {self.licence}")
        return replace(self, content={**self.content, "licence": licence})


def load_weights(path: Path) -> Checkpoint:
    """Reads what cleans: v5's weights as arrays, others as tensors.

    UserError as `read_checkpoint`.
    """
    found = read_checkpoint(path)
    if is_archive(path) or not VERSIONS[found.version].causal:
        from audio_denoising.models.checkpoint import load_checkpoint  # and torch with it

        return load_checkpoint(path)
    return found


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads and checks a checkpoint without torch, and nothing that could run.

    Raises:
        UnreadableCheckpoint: missing, or damaged in so much as one bit.
        UserError: made for another model or another signal.
    """
    if not path.is_file():
        raise UnreadableCheckpoint(f"no checkpoint at {path}: check the name, or train one first")
    try:
        content = read_archive(path) if is_archive(path) else _contents(path)
    except Exception as error:  # whatever the readers of either format raise
        raise unreadable(path) from error
    try:
        _check(path, content)
        history = [dict(row) for row in content.get("history", [])]
        runs = [run["epochs"] for run in content.get("earlier", []) if run["epochs"]]
        steps = [content.get("position", {}).get("step", 0), *(run[-1]["step"] for run in runs)]
        total = sum(map(int, steps))
    except UserError:
        raise
    except ODD as error:
        raise foreign(path) from error
    about = content["version"], content["size"], content["model"]
    return Checkpoint(path, *about, history, total, content)


def is_archive(path: Path) -> bool:
    """Whether a file begins as `torch.save` writes it, as a zip file does."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _contents(path: Path) -> dict[str, Any]:
    with safe_open(path, "np") as file:
        about = file.metadata()
        model = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if about["checksum"] != checksum(model):
        raise ValueError("its weights are damaged")
    return {**json.loads(about["description"]), "model": model}


def checksum(model: Mapping[str, npt.NDArray[Any]]) -> str:
    """CRC-32 of all weights in the order of their names, as 8 hex digits."""
    total = 0
    for name in sorted(model):
        total = zlib.crc32(np.ascontiguousarray(model[name]).data, total)
    return f"{total:08x}"


def _check(path: Path, content: Any) -> None:
    """Refuses what is not the weights of a network of this program."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise foreign(path)
    version: Any = content.get("version")
    size: Any = content.get("size")
    if not all(isinstance(name, str | None) for name in (version, size)):
        raise foreign(path)
    row = VERSIONS.get(version)
    if row is None or size not in row.sizes or content.get("widths") != row.widths(size):
        known = ", ".join(f"{name} ({', '.join(found.sizes)})" for name, found in VERSIONS.items())
        raise UserError(
            f"{path} is for version {version!r:.20}, size {size!r:.20}, which this program does "
            f"not know; it knows {known}"
        )
    if content.get("signal") != SIGNALS[row.hears]:
        raise UserError(f"{path} was trained with other signal settings: train it again")
    model = content.get("model")
    held = {k: tuple(v.shape) for k, v in model.items()} if isinstance(model, dict) else None
    # Of what ships the tests know that it is whole.
    if path != shipped(version) and held != shapes(version, size):
        raise UserError(
            f"{path} does not hold the weights of {version}-{size}: use another copy or train again"
        )
    if not all("float" in str(value.dtype) for value in content["model"].values()):
        raise foreign(path)


def unreadable(path: Path) -> UnreadableCheckpoint:
    """The error for a file that cannot be read as a checkpoint."""
    return UnreadableCheckpoint(
        f"{path} is not a readable checkpoint (damaged, or it holds code, which is never run): "
        "use another copy or train again"
    )


def foreign(path: Path) -> UserError:
    """The error for a file that can be read, and is something else."""
    return UserError(
        f"{path} is not a checkpoint of this program (format {FORMAT}): train one with it"
    )
