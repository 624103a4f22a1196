"""The names and shapes of a network's weights, as the function that assembles it tells them: for a
file to be refused, or the weights to be counted, no torch is needed.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from audio_denoising.models.networks import assemble

Shapes: TypeAlias = dict[str, tuple[int, ...]]


def shapes(version: str, size: str) -> Shapes:
    """Of all weights and running moments of `networks.build`'s network, by name.

    KeyError where there is no such version or size.
    """
    found: Shapes = assemble(_Layers(), version, size)
    return found


class _Layers:
    """Stands for `nn` in `networks.assemble`: a layer is the shapes of its weights, by name."""

    def __getattr__(self, kind: str) -> Any:
        return lambda *sizes: {}  # of a layer without weights

    def Conv2d(self, inputs: int, outputs: int, kernel: int, *more: int) -> Shapes:
        return {"weight": (outputs, inputs, kernel, kernel), "bias": (outputs,)}

    def ConvTranspose2d(self, inputs: int, outputs: int, kernel: int, *more: int) -> Shapes:
        return {"weight": (inputs, outputs, kernel, kernel), "bias": (outputs,)}

    def FrequencyConv(self, inputs: int, outputs: int, kernel: int, bias: bool) -> Shapes:
        return {"weight": (outputs, inputs, kernel), **({"bias": (outputs,)} if bias else {})}

    def Linear(self, inputs: int, outputs: int, bias: bool) -> Shapes:
        return {"weight": (outputs, inputs), **({"bias": (outputs,)} if bias else {})}

    def BandMatrix(self, inputs: int, outputs: int) -> Shapes:
        return {"weight": (outputs, inputs)}

    def ChannelBandMatrix(self, channels: int, inputs: int, outputs: int) -> Shapes:
        return {"weight": (channels, outputs, inputs)}

    def BatchNorm(self, channels: int, offset: bool = True) -> Shapes:
        names = ("weight", *(["bias"] if offset else []), "running_mean", "running_var")
        return dict.fromkeys(names, (channels,))

    BatchNormSiLU = BatchNorm

    def GRU(self, inputs: int, hidden: int) -> Shapes:
        weights = {"weight_ih_l0": (3 * hidden, inputs), "weight_hh_l0": (3 * hidden, hidden)}
        return {**weights, **dict.fromkeys(("bias_ih_l0", "bias_hh_l0"), (3 * hidden,))}

    def Sequential(self, *layers: Shapes) -> Shapes:
        return _together({str(place): layer for place, layer in enumerate(layers)})

    def Residual(self, inner: Shapes) -> Shapes:
        return _together({"inner": inner})

    Mask = Residual

    def UNetLevel(self, encode: Shapes, inner: Shapes, decode: Shapes, axis: int = 1) -> Shapes:
        return _together({"encode": encode, "inner": inner, "decode": decode})


def _together(layers: dict[str, Shapes]) -> Shapes:
    return {f"{name}.{own}": shape for name, each in layers.items() for own, shape in each.items()}
