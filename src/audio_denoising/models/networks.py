"""The network of any version, from the layers of our engine or of another library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audio_denoising.models import causal, unet
from audio_denoising.models.versions import VERSIONS, WIDTHS

if TYPE_CHECKING:
    from audio_denoising import nn


def assemble(layers: Any, version: str, size: str | None = None) -> Any:
    """The network of a version from the layers of one library: our `nn`, or `twin.LAYERS`."""
    row = VERSIONS[version]
    if row.plan:
        return unet.assemble(layers, row.plan, WIDTHS[size or row.size])
    return causal.assemble(layers, causal.SIZES[size or row.size])


def build(version: str, size: str | None = None, kernels: str = "fast") -> nn.Module:
    """The from-scratch network of a version ("torch" gives the shape of v4) in one of its sizes.

    KeyError where there is no such version or size. The ``kernels`` are those of a U-Net, "fast" or
    "reference".
    """
    from audio_denoising.models import causal_start  # and torch with it

    row = VERSIONS[version]
    size = size or row.size
    return unet.build(row.plan, WIDTHS[size], kernels) if row.plan else causal_start.build(size)


def blueprint(version: str, size: str | None = None) -> nn.Module:
    """The network of `build` without memory, and without a draw from the random generator.

    It knows names and shapes; `load_state_dict` brings it to life.
    """
    import torch

    with torch.device("meta"):
        return build(version, size)
