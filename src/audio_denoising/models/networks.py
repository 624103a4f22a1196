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


def shapes(version: str, size: str) -> dict[str, tuple[int, ...]]:
    """The names and shapes of all weights and moments of `build`'s network, found without torch."""
    if VERSIONS[version].causal:
        from audio_denoising.models import causal_weights  # and NumPy with it

        return causal_weights.shapes(size)
    found: dict[str, tuple[int, ...]] = assemble(_Shapes(), version, size)
    return found


class _Shapes:
    """Stands for `nn` in `unet.assemble`: a layer is the shapes of its weights, by name."""

    def __getattr__(self, kind: str) -> Any:
        return lambda *sizes: {}

    def Conv2d(self, inputs: int, outputs: int, kernel: int, *more: int) -> Any:
        return {"weight": (outputs, inputs, kernel, kernel), "bias": (outputs,)}

    def ConvTranspose2d(self, inputs: int, outputs: int, kernel: int, *more: int) -> Any:
        return {"weight": (inputs, outputs, kernel, kernel), "bias": (outputs,)}

    def Sequential(self, *layers: Any) -> Any:
        return _named({str(place): layer for place, layer in enumerate(layers)})

    def UNetLevel(self, encode: Any, inner: Any, decode: Any) -> Any:
        return _named({"encode": encode, "inner": inner, "decode": decode})

    def Mask(self, inner: Any) -> Any:
        return _named({"inner": inner})


def _named(layers: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{own}": v for name, layer in layers.items() for own, v in layer.items()}
