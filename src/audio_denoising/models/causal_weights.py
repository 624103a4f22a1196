"""v5's weights as arrays of NumPy, the normalisations gone into them: to clean takes no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]

EPSILON = np.float32(1e-5)  # as nn.BatchNorm has it


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
