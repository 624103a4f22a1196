"""Checkpoints: a file that says all about itself, read without trust.

The state of a training is one dictionary of tensors and plain values in torch's own form (`.pth`).
What is shared and shipped is the weights alone as safetensors, with the description and the history
as JSON in the same file, in which there is nothing that could run. `header` reads what needs no
torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from audio_denoising.files import save_whole
from audio_denoising.models import VERSIONS, blueprint
from audio_denoising.models.header import (
    ODD,
    Checkpoint,
    checksum,
    foreign,
    is_archive,
    read_checkpoint,
    unreadable,
)
from audio_denoising.models.saving import describe, save_checkpoint
from audio_denoising.torch_settings import usual_defaults


@usual_defaults()
def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Reads and checks a checkpoint, without running anything that it may hold.

    Raises:
        UnreadableCheckpoint: missing, damaged in so much as one bit, or hostile.
        UserError: made for another model or another signal.
    """
    path = Path(path)
    found = read_checkpoint(path)
    try:
        if is_archive(path):  # `weights_only` runs nothing that the file may hold
            content = torch.load(path, map_location="cpu", weights_only=True)
            state = {name: value.detach() for name, value in content["model"].items()}
        else:
            content = found.content
            state = {name: torch.from_numpy(value) for name, value in found.model_state.items()}
    except Exception as error:  # torch raises half a dozen types for a bad file
        raise unreadable(path) from error
    return replace(found, model_state=state, content={**content, "model": state})


def export(checkpoint: Checkpoint, path: Path) -> None:
    """Writes only what cleaning needs, in half precision: a few MB, to ship and to share.

    Of paths only the last name stays, and nothing of where the run computed: folders are private.
    It is a file of torch's where the name ends in `.pth`, else one of safetensors.

    Raises:
        UserError: the checkpoint is not one of this program, or the file cannot be written.
    """
    content = checkpoint.content
    try:
        earlier = content.get("earlier", [])
        description = {
            **describe(checkpoint.version, checkpoint.size),
            "licence": checkpoint.licence,
            "options": _without_folders(content.get("options", {})),
            "position": content.get("position", {}),
            "history": checkpoint.history,
            "earlier": [{**run, "options": _without_folders(run["options"])} for run in earlier],
        }
        text = json.dumps(description)
    except ODD as error:
        raise foreign(checkpoint.path) from error
    # Running moments are few and may be tiny: in half precision a variance could round to nothing.
    network = blueprint(checkpoint.version, checkpoint.size)
    moments = {name for name, _ in network.named_buffers()}
    model = {
        name: value.contiguous() if name in moments else value.half().contiguous()
        for name, value in checkpoint.model_state.items()
    }
    if path.suffix == ".pth":
        save_checkpoint(path, {**description, "model": model})
        return
    arrays = {name: value.numpy() for name, value in model.items()}
    data = to_safetensors(model, {"description": text, "checksum": checksum(arrays)})
    save_whole(path, lambda temporary: temporary.write_bytes(data))


def _without_folders(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a run, with the names of files and folders in place of their paths."""
    named = dict(options)
    if named.get("start_from"):
        named["start_from"] = Path(named["start_from"]).name
    if named.get("hold_out"):
        named["hold_out"] = [Path(name).name for name in named["hold_out"]]
    return named


@usual_defaults()
def build_model(checkpoint: Checkpoint, device: str | torch.device) -> Callable[[Tensor], Tensor]:
    """The checkpoint's network in evaluation mode, which takes what its version hears.

    Images (N, 1, 256, 256) of U-Nets, features (T, N, 64, 12) of v5. Versions of the from-scratch
    engine run on it (an `nn.Module`); "torch" runs on torch.nn.
    """
    state = {name: value.float() for name, value in checkpoint.model_state.items()}
    if VERSIONS[checkpoint.version].engine == "torch.nn":
        from audio_denoising.models.twin import build_twin

        with torch.device("meta"):
            twin: torch.nn.Module = build_twin(checkpoint.version, checkpoint.size)
        twin.load_state_dict(state, assign=True)
        return twin.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    model = blueprint(checkpoint.version, checkpoint.size)
    model.load_state_dict(state)
    return model.to(device=device).eval()
