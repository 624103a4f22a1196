"""The page as files: what stands in `page/`, and the network's weights in the form a browser reads.

A weights file is a 32-bit length, a JSON text of that length that describes the network as a tree
of layers, and then all weights as 16-bit floats, little-endian. Normalisations are folded into the
layers before them (`nn.folded`), so a browser has neither to know them nor to compute them.
"""

from __future__ import annotations

import json
from importlib.resources import files
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_denoising.errors import UserError
from audio_denoising.files import save_whole
from audio_denoising.models.versions import COMPRESSED_SPECTRUM, VERSIONS, locate

if TYPE_CHECKING:
    import torch

    from audio_denoising.nn import Module

WEIGHTS = "weights.bin"


def page_files() -> dict[str, bytes]:
    """The files of the page by name, without the weights."""
    folder = files(__package__).joinpath("page")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}


def refuse_large(version: str) -> None:
    """Refuses networks that a browser does not run.

    Raises:
        UserError: the version's is one.
    """
    if VERSIONS[version].hears != COMPRESSED_SPECTRUM:
        raise UserError(
            f"a browser does not run {version}, which is too large for it: choose v5, or a "
            f"checkpoint of it"
        )


def weights_file(model: str | Path = "v5") -> bytes:
    """The weights of a version that ships, or of a checkpoint file, as the page reads them.

    UserError where there is no such model, or it is one that a browser does not run.
    """
    import torch

    from audio_denoising.models.checkpoint import build_model, load_checkpoint
    from audio_denoising.nn import Module
    from audio_denoising.nn.batch_norm import folded

    checkpoint = load_checkpoint(locate(model))
    refuse_large(checkpoint.version)
    network = build_model(checkpoint, "cpu")
    assert isinstance(network, Module)
    weights: list[torch.Tensor] = []
    tree = _tree(folded(network), weights)
    header = json.dumps({"name": f"{checkpoint.version}-{checkpoint.size}", "network": tree})
    header += " " * (len(header.encode()) % 2)  # so that the numbers begin at an even byte
    values = torch.cat([weight.flatten() for weight in weights]).half().numpy().astype("<f2")
    text = header.encode()
    return len(text).to_bytes(4, "little") + text + values.tobytes()


def _tree(layer: Module, weights: list[torch.Tensor]) -> dict[str, Any]:
    """A layer as plain values: its kind, the layers in it, and the shapes of its weights in turn.

    The weights themselves are added to the list.
    """
    from audio_denoising.nn.module import Module, Parameter

    tree: dict[str, Any] = {"kind": type(layer).__name__}
    for name, held in layer.members():
        if isinstance(held, Module):
            tree[name] = _tree(held, weights)
        elif isinstance(held, Parameter):
            weights.append(held.data)
            tree[name] = list(held.data.shape)
    return tree


def write_page(folder: Path, model: str | Path = "v5") -> list[Path]:
    """Writes the page and the weights into a folder, to be put on any web server; names its files.

    Files of the same name there are replaced; nothing else is touched. UserError where the model is
    none for a browser, or the folder cannot be written.
    """
    contents = {**page_files(), WEIGHTS: weights_file(model)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        save_whole(folder / name, methodcaller("write_bytes", content))
    return [folder / name for name in contents]
