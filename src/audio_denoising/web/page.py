"""The page as files: what stands in `page/`, and the network's weights in the form a browser reads.

A weights file is a 32-bit length, a JSON text of that length that describes the network as a tree
of layers, and then all weights as 16-bit floats, little-endian. Normalisations are folded into the
layers before them (`causal_weights.folded`), so a browser has neither to know nor to compute them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_denoising.files import save_whole
from audio_denoising.models.versions import locate, require_causal

if TYPE_CHECKING:
    from audio_denoising.models.causal_weights import Array

WEIGHTS = "weights.bin"
IN_BROWSER = "the page in a browser"


def page_files() -> dict[str, bytes]:
    """The files of the page by name, without the weights."""
    folder = files(__package__).joinpath("page")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}


def weights_file(model: str | Path = "v5") -> bytes:
    """The weights of a version that ships, or of a checkpoint file, as the page reads them.

    UserError where there is no such model, or it is one that a browser does not run.
    """
    import numpy as np

    from audio_denoising.models import causal, causal_weights
    from audio_denoising.models.header import load_weights

    found = load_weights(locate(model))
    require_causal(found.version, IN_BROWSER)
    weights = causal_weights.folded(found.model_state)
    order: list[str] = []
    tree = _tree(causal.assemble(_Kinds(), causal.SIZES[found.size]), "", weights, order)
    header = json.dumps({"name": f"{found.version}-{found.size}", "network": tree})
    header += " " * (len(header.encode()) % 2)  # so that the numbers begin at an even byte
    values = np.concatenate([weights[name].ravel() for name in order]).astype("<f2")
    text = header.encode()
    return len(text).to_bytes(4, "little") + text + values.tobytes()


class _Kinds:
    """Stands for `nn` in `causal.assemble`: a layer is its kind, and the layers in it by name."""

    def __getattr__(self, kind: str) -> Callable[..., dict[str, Any]]:
        return lambda *sizes: {"kind": kind}

    def Sequential(self, *layers: Any) -> dict[str, Any]:
        return {"kind": "Sequential", **{str(place): each for place, each in enumerate(layers)}}

    def Residual(self, inner: Any) -> dict[str, Any]:
        return {"kind": "Residual", "inner": inner}

    def UNetLevel(self, encode: Any, inner: Any, decode: Any, axis: int) -> dict[str, Any]:
        return {"kind": "UNetLevel", "encode": encode, "inner": inner, "decode": decode}


def _tree(
    layer: dict[str, Any], prefix: str, weights: Mapping[str, Array], order: list[str]
) -> dict[str, Any]:
    """A folded layer as plain values: its kind, the layers in it, and the shapes of its weights.

    Args:
        layer: as it was before normalisations were folded.
        prefix: of the names of its weights.
        weights: all that are left, by name.
        order: to which the names are added, in turn.
    """
    if layer["kind"] == "BatchNormSiLU":
        return {"kind": "SiLU"}
    tree = {"kind": layer["kind"]}
    for name in ("weight", "bias", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        if prefix + name in weights:
            order.append(prefix + name)
            tree[name] = list(weights[prefix + name].shape)
    for name, held in layer.items():
        if isinstance(held, dict) and held["kind"] != "BatchNorm":
            place = str(len(tree) - 1) if layer["kind"] == "Sequential" else name
            tree[place] = _tree(held, f"{prefix}{name}.", weights, order)
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
