"""Every layer of the network alone: forward and backward, ours beside torch's, and the ceiling.

A convolution is measured together with the activation behind it: an engine may do both at once.
The ceiling is what the machine's matrix product reaches, with large matrices and with matrices of
the layer's own shape. The work counted is that of the layer's definition, whoever computes it: a
method that needs fewer multiplications (Winograd's needs 2.25 times fewer) may pass the ceiling.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.models.twin import LAYERS, build_twin
from benchmarks.engine_rounds import Seconds, Trial, better, interleaved, middle, ratio
from benchmarks.engine_sides import CHANNELS_LAST, NCHW, OURS, TWINS, VERSION

Pair = tuple[int, int]
Count = dict["LayerShape", int]

LARGE_PRODUCTS = (1024, 2048, 3072)
ROWS = 16384  # at most, in the product that has a layer's shape: more change nothing but the memory


@dataclass(frozen=True)
class LayerShape:
    """What decides the cost of a layer. Sizes are (F, T)."""

    kind: str  # "Conv2d", "ConvTranspose2d" or "Sigmoid"
    channels_in: int
    channels_out: int
    size: Pair
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    slope: float | None = None  # of the LeakyReLU behind it, if there is one
    input_gradient: bool = True

    @property
    def title(self) -> str:
        """In words, as the tables have it."""
        place = f"{self.channels_in} @ {self.size[0]}×{self.size[1]}"
        if not self.convolves:
            return f"{self.kind} {place}"
        name = "transposed conv" if self.kind == "ConvTranspose2d" else "conv"
        stride = f" stride {self.stride[0]}" if self.stride != (1, 1) else ""
        kernel = f"{self.kernel[0]}×{self.kernel[1]}"
        activation = "" if self.slope is None else ", LeakyReLU"
        return f"{name} {kernel}{stride}, {place} → {self.channels_out}{activation}"

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution of either kind."""
        return self.kind.startswith("Conv")

    def product(self) -> tuple[int, int, int]:
        """(rows, inner, columns) of the product that im2col makes of one sample."""
        taps = prod(self.kernel)
        f, t = self.size
        if self.kind == "ConvTranspose2d":
            return f * t, self.channels_in, taps * self.channels_out
        return (
            (f // self.stride[0]) * (t // self.stride[1]),
            taps * self.channels_in,
            self.channels_out,
        )

    def flops(self, batch: int) -> dict[str, int]:
        """Additions and multiplications of each phase, by the definition of the layer."""
        forward = 2 * batch * prod(self.product()) if self.convolves else 0
        return {"forward": forward, "backward": forward * (2 if self.input_gradient else 1)}


def layer_shapes(size: str) -> Count:
    """The distinct layers of the network and how often each occurs, in the order of the data."""
    with torch.device("meta"):  # shapes alone: nothing is allocated or computed
        twin = build_twin(VERSION, size)
    found: list[LayerShape] = []

    def note(layer: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        if isinstance(layer, torch.nn.LeakyReLU):  # always behind a convolution
            found[-1] = replace(found[-1], slope=layer.negative_slope)
            return
        _, channels, f, t = inputs[0].shape
        geometry: dict[str, Any] = {}
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            geometry = {name: getattr(layer, name) for name in ("stride", "padding")}
            geometry["kernel"] = layer.kernel_size
            geometry["input_gradient"] = bool(found)  # nothing is trained before the first layer
        found.append(
            LayerShape(type(layer).__name__, channels, output.shape[1], (f, t), **geometry)
        )

    for layer in twin.modules():
        if not list(layer.children()):
            layer.register_forward_hook(note)
    twin(torch.empty(1, 1, 256, 256, device="meta"))
    return dict(Counter(found))


def gemm_gflops(rows: int, inner: int, columns: int, repeats: int = 5) -> float:
    """The best of several products (rows, inner) @ (inner, columns), in GFLOP/s."""
    a, b = torch.rand(rows, inner), torch.rand(inner, columns)
    out = torch.empty(rows, columns)
    best = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2e-9 * rows * inner * columns / best


def gemm_ceiling() -> float:
    """The machine's matrix product at its best, in GFLOP/s, threads as set."""
    return max(gemm_gflops(n, n, n) for n in LARGE_PRODUCTS)


def measure_layer(shape: LayerShape, count: int, batch: int, rounds: int) -> dict[str, Any]:
    """Times one layer on each side.

    Returns:
        The shape, `count`, and for "forward" and "backward": seconds of every round, the ratio of
        ours to the better torch layout, and GFLOP/s of both where the layer is a convolution.
    """
    torch.manual_seed(0)
    twin = _layer(shape, LAYERS)
    trials: dict[str, Trial] = {
        OURS: _our_trial(shape, twin, _image(shape, batch, torch.channels_last))
    }
    for name, layout in ((NCHW, torch.contiguous_format), (CHANNELS_LAST, torch.channels_last)):
        trials[name] = _torch_trial(shape, twin, _image(shape, batch, layout), layout)
    row: dict[str, Any] = {"layer": shape.title, "count": count, "shape": asdict(shape)}
    for phase, series in interleaved(trials, rounds).items():
        best = better(series, TWINS)
        row[phase] = {"seconds": series, "ratio": ratio(series, OURS, best)}
        if work := shape.flops(batch)[phase]:
            row[phase] |= {
                "gflop": work / 1e9,
                "gflops": {name: work / 1e9 / middle(series[name]) for name in (OURS, best)},
            }
    if shape.convolves:
        rows, inner, columns = shape.product()
        row["gemm_gflops"] = gemm_gflops(min(rows, ROWS), inner, columns, repeats=3)
    return row


def _layer(shape: LayerShape, library: Any) -> Any:
    """The layer and its activation, from our `nn` or from what the twin is made of."""
    if shape.kind == "Sigmoid":
        return library.Sequential(library.Sigmoid())
    make = getattr(library, shape.kind)
    layers = [
        make(shape.channels_in, shape.channels_out, shape.kernel, shape.stride, shape.padding)
    ]
    if shape.slope is not None:
        layers.append(library.LeakyReLU(shape.slope))
    return library.Sequential(*layers)


def _image(shape: LayerShape, batch: int, layout: torch.memory_format) -> Tensor:
    x = torch.randn(batch, shape.channels_in, *shape.size)
    return x.contiguous(memory_format=layout)


def _our_trial(shape: LayerShape, twin: torch.nn.Module, x: Tensor) -> Trial:
    """Forward and backward of our layer, which adds to gradients that are there already."""
    layer = _layer(shape, nn)
    layer.load_state_dict(twin.state_dict())
    if isinstance(layer.layers[0], nn.Conv2d):
        layer.layers[0].input_gradient = shape.input_gradient
    with torch.inference_mode():
        grad = torch.randn_like(layer(x.clone()))

    def trial() -> Seconds:
        with torch.inference_mode():
            layer.zero_grad()
            image, cotangent = x.clone(), grad.clone()  # both sides may work in place
            start = time.perf_counter()
            y = layer(image)
            between = time.perf_counter()
            result = layer.backward(cotangent)
            end = time.perf_counter()
        del y, result
        return {"forward": between - start, "backward": end - between}

    return trial


def _torch_trial(
    shape: LayerShape, twin: torch.nn.Module, x: Tensor, layout: torch.memory_format
) -> Trial:
    """Forward and backward of torch's layer; autograd hands its gradients over without adding."""
    layer = _layer(shape, LAYERS)
    layer.load_state_dict(twin.state_dict())
    layer.to(memory_format=layout)
    leaf = x.requires_grad_(shape.input_gradient)
    grad = torch.randn_like(layer(leaf.clone()))
    parameters = list(layer.parameters())

    def trial() -> Seconds:
        image, cotangent = leaf.clone(), grad.clone()
        # The gradient is asked for at the leaf: an activation in place makes `image` its output.
        wanted = [*parameters, leaf] if shape.input_gradient else parameters
        start = time.perf_counter()
        y = layer(image)
        between = time.perf_counter()
        result = torch.autograd.grad(y, wanted, cotangent)
        end = time.perf_counter()
        del y, result
        return {"forward": between - start, "backward": end - between}

    return trial
