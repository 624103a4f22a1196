"""Checkpoints: a file that says all about itself, written whole or not at all, read without trust.

A checkpoint is one dictionary of tensors and plain values. It is read with `weights_only=True`, so
a hostile file cannot run code, and checked before use, so a wrong one gets a sentence.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..dsp import spectrum
from ..errors import UserError
from ..models import VERSIONS, WIDTHS, build

FORMAT = 1
SIGNAL = {
    "sample_rate": spectrum.SAMPLE_RATE,
    "fft_size": spectrum.FFT_SIZE,
    "hop": spectrum.HOP,
    "bins": spectrum.BINS,
    "frames": spectrum.FRAMES,
    "floor_db": spectrum.FLOOR_DB,
}
SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read and checked."""

    path: Path
    version: str
    size: str
    model_state: dict[str, Tensor]
    history: list[dict[str, Any]]
    steps: int  # of training, behind the weights
    content: dict[str, Any]  # everything, for a run that resumes


def describe(version: str, size: str) -> dict[str, Any]:
    """The part of a checkpoint that says what it is for."""
    return {
        "format": FORMAT,
        "version": version,
        "size": size,
        "widths": list(WIDTHS[size]),
        "signal": dict(SIGNAL),
    }


def save_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, then renames it: all or nothing.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o644)
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise UserError(
            f"cannot write {path}: {error}; choose another folder or free some space"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Makes the folder where need be, so that a run fails before its first step, not after hours.

    Raises:
        UserError: results could not be saved there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error}): choose another --out") from error


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Writes a checkpoint. Raises UserError where that is not possible."""
    save_whole(path, lambda temporary: torch.save(content, temporary))


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Reads and checks a checkpoint, without running anything that it may hold.

    Raises:
        UserError: missing, corrupt, hostile, or made for another model or another signal.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: check the name, or train one first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of odd pickles; they are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a bad file
        raise UserError(
            f"{path} is not a readable checkpoint (damaged, or it holds code, which is never run): "
            "use another copy or train again"
        ) from error
    try:
        return _checked(path, content)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        # Something of another type than this program writes, in a place where it writes something.
        raise _foreign(path) from error


def _checked(path: Path, content: Any) -> Checkpoint:
    """The content of a file that `load_checkpoint` has read, or a UserError."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _foreign(path)
    version, size = content.get("version"), content.get("size")
    if version not in VERSIONS or size not in WIDTHS or content.get("widths") != list(WIDTHS[size]):
        raise UserError(
            f"{path} is for version {version!r}, size {size!r}, which this program does not know; "
            f"it knows {', '.join(VERSIONS)} in {' and '.join(WIDTHS)}"
        )
    if content.get("signal") != SIGNAL:
        raise UserError(f"{path} was trained with other signal settings: train it again")
    model = content.get("model")
    shapes = {name: p.data.shape for name, p in build(version, size).named_parameters()}
    if not isinstance(model, dict) or shapes != {k: v.shape for k, v in model.items()}:
        raise UserError(
            f"{path} does not hold the weights of {version}-{size}: use another copy or train again"
        )
    history = [dict(row) for row in content.get("history", [])]
    before = [run["epochs"][-1]["step"] for run in content.get("earlier", []) if run["epochs"]]
    steps = int(content.get("position", {}).get("step", 0)) + sum(before)
    return Checkpoint(path, version, size, model, history, steps, content)


def _foreign(path: Path) -> UserError:
    return UserError(
        f"{path} is not a checkpoint of this program (format {FORMAT}): train one with it"
    )


def shipped(version: str) -> Path:
    """Where the weights of a version lie that come with the package (small size)."""
    return SHIPPED / f"{version}-small.pth"


def export(checkpoint: Checkpoint, path: Path) -> None:
    """Writes only what cleaning needs, in half precision: a few MB, to ship and to share.

    Of the file that training started from only the name stays: folders are private.
    """
    options = dict(checkpoint.content.get("options", {}))
    if options.get("start_from"):
        options["start_from"] = Path(options["start_from"]).name
    content = {
        **describe(checkpoint.version, checkpoint.size),
        "model": {name: value.half() for name, value in checkpoint.model_state.items()},
        "options": options,
        "position": checkpoint.content.get("position", {}),
        "history": checkpoint.history,
        "earlier": checkpoint.content.get("earlier", []),
    }
    save_checkpoint(path, content)


def build_model(checkpoint: Checkpoint, device: str | torch.device) -> Callable[[Tensor], Tensor]:
    """The checkpoint's network in evaluation mode: images (N, 1, 256, 256) in, the same out.

    Versions of the from-scratch engine run on it; "torch" runs on torch.nn.
    """
    state = {name: value.float() for name, value in checkpoint.model_state.items()}
    if VERSIONS[checkpoint.version].engine == "torch.nn":
        from ..models.unet_torch import build_twin

        twin = build_twin(checkpoint.version, checkpoint.size)
        twin.load_state_dict(state)
        return twin.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    model = build(checkpoint.version, checkpoint.size)
    model.load_state_dict(state)
    return model.to(device=device).eval()
