"""v5's weights as arrays of NumPy: which there are, and how normalisations disappear among them.

No torch is needed to clean by v5. So here stands what a network of `nn` would know by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from audio_denoising.models import causal

Array: TypeAlias = NDArray[np.float32]
Outline: TypeAlias = dict[str, Any]
"""A layer as plain values: its "kind", and by name the layers in it and the shapes of weights."""

EPSILON = np.float32(1e-5)  # as nn.BatchNorm has it


def _layer(kind: str, **held: Outline | tuple[int, ...] | bool) -> Outline:
    return {"kind": kind, **{name: each for name, each in held.items() if each}}


def _chain(*layers: Outline) -> Outline:
    return _layer("Sequential", **{str(place): layer for place, layer in enumerate(layers)})


def _norm(kind: str, channels: int, bias: bool = True) -> Outline:
    one = (channels,)
    return _layer(kind, weight=one, bias=bias and one, running_mean=one, running_var=one)


def _gru(inputs: int, hidden: int) -> Outline:
    weights = {"weight_ih_l0": (3 * hidden, inputs), "weight_hh_l0": (3 * hidden, hidden)}
    return _layer("GRU", **weights, bias_ih_l0=(3 * hidden,), bias_hh_l0=(3 * hidden,))


_LAYERS = SimpleNamespace(
    BandMatrix=lambda inputs, outputs: _layer("BandMatrix", weight=(outputs, inputs)),
    BatchNorm=partial(_norm, "BatchNorm"),
    BatchNormSiLU=partial(_norm, "BatchNormSiLU"),
    ChannelBandMatrix=lambda channels, inputs, outputs: _layer(
        "ChannelBandMatrix", weight=(channels, outputs, inputs)
    ),
    FrequencyConv=lambda inputs, outputs, kernel, bias: _layer(
        "FrequencyConv", weight=(outputs, inputs, kernel), bias=bias and (outputs,)
    ),
    GRU=_gru,
    Linear=lambda inputs, outputs, bias: _layer(
        "Linear", weight=(outputs, inputs), bias=bias and (outputs,)
    ),
    RadialTanh=lambda: _layer("RadialTanh"),
    Residual=lambda inner: _layer("Residual", inner=inner),
    Sequential=_chain,
    SiLU=lambda: _layer("SiLU"),
    UNetLevel=lambda encode, inner, decode, axis: _layer(
        "UNetLevel", encode=encode, inner=inner, decode=decode
    ),
)


def outline(size: str) -> Outline:
    """The whole network of a size, assembled like every other; KeyError where there is none."""
    found: Outline = causal.assemble(_LAYERS, causal.SIZES[size])
    return found


def shapes(size: str) -> dict[str, tuple[int, ...]]:
    """The names of all weights and running moments, and their shapes, as in a `state_dict`."""

    def below(layer: Outline, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        for key, held in layer.items():
            if isinstance(held, tuple):
                yield name + key, held
            elif isinstance(held, dict):
                yield from below(held, f"{name}{key}.")

    return dict(below(outline(size), ""))


def folded(state: Mapping[str, Any]) -> dict[str, Array]:
    """The same network in float32 without normalisations: layers before them do what they did.

    Of y = gain (W x - mean) / sqrt(variance + epsilon) + offset it makes one linear layer, as
    `nn.folded` does. Every normalisation stands behind a layer without a bias.

    Args:
        state: all weights and moments by name, arrays or tensors on the CPU.
    """
    found = {name: np.asarray(value, np.float32) for name, value in state.items()}
    for name in [name for name in found if name.endswith(".running_var")]:
        norm = name.removesuffix(".running_var")
        chain, _, place = norm.rpartition(".")
        before = f"{chain}.{int(place) - 1}"
        inverse = np.float32(1) / np.sqrt(found.pop(name) + EPSILON)
        scale = found.pop(f"{norm}.weight") * inverse
        offset = found.pop(f"{norm}.bias", np.float32(0))
        weight = found[f"{before}.weight"]
        found[f"{before}.weight"] = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        found[f"{before}.bias"] = offset - found.pop(f"{norm}.running_mean") * scale
    return found
