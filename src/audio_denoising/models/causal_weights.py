"""v5's weights as arrays of NumPy: which there are, and how normalisations disappear among them.

No torch is needed to clean by v5. So here stands what a network of `nn` would know by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from audio_denoising.dsp.constants import FEATURES, OUTPUTS, POSITIONS
from audio_denoising.models.causal import SIZES

Array: TypeAlias = NDArray[np.float32]
Shape: TypeAlias = tuple[int, ...]

EPSILON = np.float32(1e-5)  # as nn.BatchNorm has it


def shapes(size: str) -> dict[str, Shape]:
    """The names of all weights and running moments of a network that `causal.assemble` makes.

    In the order of a `state_dict`, with their shapes; KeyError where there is no such size.
    """
    return dict(_shapes(size))


def _shapes(size: str) -> Iterator[tuple[str, Shape]]:
    widths = SIZES[size]
    wide, bands, narrow = widths.channels, widths.bands, widths.features
    levels = ["0" + depth * ".inner" for depth in range(widths.encoders + 1)]
    for level in levels:
        inputs = FEATURES if level == "0" else wide
        yield from _normed(f"{level}.encode", 0, (wide, inputs, 3))
    core = f"{levels[-1]}.inner"
    yield f"{core}.0.weight", (bands, POSITIONS)
    yield from _normed(core, 1, (narrow, wide))
    place = 3
    for _ in range(widths.blocks):
        recurrence, mix = f"{core}.{place}.inner", f"{core}.{place + 1}.inner"
        for side in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            shape = (3 * narrow, narrow) if side.startswith("weight") else (3 * narrow,)
            yield f"{recurrence}.0.{side}_l0", shape
        yield from _normed(recurrence, 1, (narrow, narrow))
        yield f"{mix}.0.weight", (narrow, narrow)
        yield f"{mix}.1.weight", (narrow, bands, bands)
        yield from _normed(mix, 3, (narrow, narrow))
        place += 2
    yield f"{core}.{place}.weight", (POSITIONS, bands)
    yield from _normed(core, place + 1, (wide, narrow), offset=False)
    for level in reversed(levels):
        yield from _normed(f"{level}.decode", 0, (wide, 2 * wide))
        if level != "0":
            yield from _normed(f"{level}.decode", 2, (wide, wide, 3))
    yield from {"1.weight": (OUTPUTS, wide, 3), "1.bias": (OUTPUTS,)}.items()


def _normed(
    chain: str, place: int, weight: Shape, offset: bool = True
) -> Iterator[tuple[str, Shape]]:
    """A layer without a bias, by its place in a chain, and the normalisation behind it."""
    yield f"{chain}.{place}.weight", weight
    for name in ("weight", "bias", "running_mean", "running_var"):
        if offset or name != "bias":
            yield f"{chain}.{place + 1}.{name}", weight[:1]


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
