"""Convolution layers: local, shift-invariant linear maps of an image, and their readable form.

Both layers are made of the same three operations: `correlate`, its `weight_gradient` and its
`input_gradient`. Here they stand as im2col: every K x K patch of the padded image is copied into a
column of a matrix, a convolution is a product of that matrix with the kernels written as rows, and
its two derivatives are two more products. Chellapilla, Puri and Simard, "High performance
convolutional neural networks for document processing", 2006; derivation in docs/backprop.md. The
layers use the fast form of the same operations (`fast`), which is tested and timed against this.

A transposed convolution is the adjoint of a convolution, so it runs the convolution's backward pass
forwards and its forward pass backwards.
"""

from __future__ import annotations

import math
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from audio_denoising.nn.fast import rows, winograd
from audio_denoising.nn.module import Module, Pair, Parameter, output_size, pair, require

KERNELS = ("fast", "reference")
FEWEST_CHANNELS = 32  # below, Winograd's transforms cost too much
FEWEST_TILES = 32  # below, transforming the kernels costs more than it saves


def im2col(x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """(N, C, F, T) -> (N, C K_f K_t, F' T'): every patch as a column.

    The patches are a strided *view* of the padded image, so no loop runs over positions.
    """
    (kf, kt), (sf, st), (pf, pt) = kernel, stride, padding
    n, c, f, t = x.shape
    fo, to = output_size((f, t), kernel, stride, padding)
    padded = x.new_zeros(n, c, f + 2 * pf, t + 2 * pt)
    padded[:, :, pf : pf + f, pt : pt + t] = x
    by_n, by_c, by_f, by_t = padded.stride()
    patches = padded.as_strided(
        (n, c, kf, kt, fo, to), (by_n, by_c, by_f, by_t, sf * by_f, st * by_t)
    )
    return patches.reshape(n, c * kf * kt, fo * to)


def col2im(columns: Tensor, size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """(N, C K_f K_t, F' T') -> (N, C, F, T): adds every column back to the patch it came from.

    The adjoint of `im2col`: K_f K_t additions of whole shifted images.
    """
    (kf, kt), (sf, st), (pf, pt) = kernel, stride, padding
    fo, to = output_size(size, kernel, stride, padding)
    n, c = columns.shape[0], columns.shape[1] // (kf * kt)
    columns = columns.reshape(n, c, kf, kt, fo, to)
    x = columns.new_zeros(n, c, size[0] + 2 * pf, size[1] + 2 * pt)
    for i in range(kf):
        for j in range(kt):
            x[:, :, i : i + sf * fo : sf, j : j + st * to : st] += columns[:, :, i, j]
    return x[:, :, pf : pf + size[0], pt : pt + size[1]]


def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """Convolution as the field calls it: y = W . im2col(x) + b.

    x (N, C, F, T), weight (C', C, K_f, K_t), bias (C',) -> (N, C', F', T').
    """
    kernel = (weight.shape[2], weight.shape[3])
    fo, to = output_size((x.shape[2], x.shape[3]), kernel, stride, padding)
    y = weight.flatten(1) @ im2col(x, kernel, stride, padding)
    if bias is not None:
        y += bias[:, None]
    return y.view(x.shape[0], weight.shape[0], fo, to)


def weight_gradient(
    x: Tensor, grad_output: Tensor, kernel: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """dL/dW = sum over n of dL/dy . im2col(x)^T, shape (C', C, K_f, K_t)."""
    columns = im2col(x, kernel, stride, padding)
    grad = (grad_output.flatten(2) @ columns.transpose(1, 2)).sum(0)
    return grad.view(grad_output.shape[1], x.shape[1], *kernel)


def input_gradient(
    grad_output: Tensor,
    weight: Tensor,
    size: Pair,
    stride: Pair,
    padding: Pair,
    bias: Tensor | None = None,
) -> Tensor:
    """dL/dx = col2im(W^T . dL/dy), shape (N, C, F, T) with (F, T) = `size`.

    A bias (C,) is added when this serves as the forward pass of a transposed convolution.
    """
    columns = weight.flatten(1).T @ grad_output.flatten(2)
    x = col2im(columns, size, (weight.shape[2], weight.shape[3]), stride, padding)
    return x if bias is None else x + bias[:, None, None]


REFERENCE = SimpleNamespace(
    correlate=correlate, weight_gradient=weight_gradient, input_gradient=input_gradient
)


def choose(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> ModuleType:
    """The fastest of `fast` for x (N, C, F, T) and a weight (C', C, K_f, K_t)."""
    kernel = (weight.shape[2], weight.shape[3])
    fits = kernel == (3, 3) and stride == (1, 1) and max(padding) <= 2
    if fits and min(weight.shape[:2]) >= FEWEST_CHANNELS:
        f, t = output_size((x.shape[2], x.shape[3]), kernel, stride, padding)
        if len(x) * -(-f // 4) * -(-t // 4) >= FEWEST_TILES:
            return winograd
    return rows


def he_normal(shape: tuple[int, ...], fan_in: float) -> Tensor:
    """Normal weights of standard deviation sqrt(2 / fan_in), so many inputs feeding one output.

    It keeps the variance of a signal through layers that are followed by a ReLU. He et al.,
    "Delving deep into rectifiers", ICCV 2015, eq. 10.
    """
    drawn = torch.empty(shape)
    return drawn if drawn.is_meta else drawn.normal_() * math.sqrt(2.0 / fan_in)  # as `uniform`


class Convolution(Module):
    """What both layers share: geometry, weight, bias, and the choice of the kernels."""

    fresh_output = True
    kernels = "fast"

    def __init__(
        self, weight: Tensor, outputs: int, stride: int | Pair, padding: int | Pair, bias: bool
    ) -> None:
        # In memory the order is (K_f, K_t, C, C'), as the fast products read it.
        self.weight = Parameter(weight.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1))
        self.bias = Parameter(torch.zeros(outputs)) if bias else None
        self.kernel: Pair = (weight.shape[2], weight.shape[3])
        self.stride = pair(stride)
        self.padding = pair(padding)

    def use_kernels(self, name: str) -> None:
        """Chooses the operations, "fast" or "reference"; ValueError for another name."""
        if name not in KERNELS:
            raise ValueError(f"unknown kernels {name!r}: choose {' or '.join(KERNELS)}")
        self.kernels = name

    def _bias(self) -> Tensor | None:
        return None if self.bias is None else self.bias.data

    def _add_bias_gradient(self, grad_output: Tensor) -> None:
        """dL/db = sum of dL/dy over N, F, T."""
        if self.bias is not None:
            self.bias.add_gradient(grad_output.sum((0, 2, 3)))


class Conv2d(Convolution):
    """y = W * x + b (a cross-correlation, as everywhere in the field).

    Args:
        in_channels: C. out_channels: C'.
        kernel, stride, padding: one number for both axes or (frequency, time).

    Shapes: (N, C, F, T) -> (N, C', (F + 2P - K) // S + 1, ...).
    """

    input_gradient = True  # False for a first layer: nothing is trained before it

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
    ) -> None:
        kf, kt = pair(kernel)
        weight = he_normal((out_channels, in_channels, kf, kt), in_channels * kf * kt)
        super().__init__(weight, out_channels, stride, padding, bias)

    def operations(self, x: Tensor) -> Any:
        """Where `correlate` and its gradients come from for an image of such a shape."""
        if self.kernels == "reference":
            return REFERENCE
        return choose(x, self.weight.data, self.stride, self.padding)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> (N, C', F', T'); ValueError for other channels, or a small image."""
        channels = self.weight.data.shape[1]
        fits = x.dim() == 4 and x.shape[1] == channels
        require(fits, f"Conv2d takes images (N, {channels}, F, T)", x)
        self.keep(x)
        weight, bias = self.weight.data, self._bias()
        y: Tensor = self.operations(x).correlate(x, weight, bias, self.stride, self.padding)
        return y

    # dL/dW = sum over positions of dL/dy (outer) patch;  dL/dx = W transposed, spread over patches.

    def backward(self, grad_output: Tensor) -> Tensor:
        """(N, C', F', T') -> (N, C, F, T); empty where `input_gradient` is False."""
        (x,) = self.take()
        self._add_bias_gradient(grad_output)
        operations, place = self.operations(x), (self.stride, self.padding)
        dw = operations.weight_gradient(x, grad_output, self.kernel, *place)
        self.weight.add_gradient(dw)
        if not self.input_gradient:
            return x.new_empty(0)
        size = (x.shape[2], x.shape[3])
        dx: Tensor = operations.input_gradient(grad_output, self.weight.data, size, *place)
        return dx


class ConvTranspose2d(Convolution):
    """The adjoint of `Conv2d(out_channels, in_channels, ...)`, plus a bias: it up-samples by S.

    The weight has the shape (C, C', K_f, K_t), as in torch.nn. `output_padding` adds rows at the
    end, which tells apart the input sizes that a strided convolution maps to the same output.

    Shapes: (N, C, F, T) -> (N, C', (F - 1) S - 2P + K + output padding, ...). ValueError unless
    the output padding is smaller than the stride.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        output_padding: int | Pair = 0,
        bias: bool = True,
    ) -> None:
        (kf, kt), (sf, st) = pair(kernel), pair(stride)
        # An output pixel is fed by K/S taps of every input channel, on average.
        fan_in = in_channels * (kf / sf) * (kt / st)
        weight = he_normal((in_channels, out_channels, kf, kt), fan_in)
        super().__init__(weight, out_channels, stride, padding, bias)
        self.output_padding = pair(output_padding)
        if self.output_padding[0] >= sf or self.output_padding[1] >= st:
            raise ValueError("output_padding must be smaller than the stride")

    def operations(self) -> Any:
        """Where `input_gradient`, `correlate` and `weight_gradient` come from."""
        return REFERENCE if self.kernels == "reference" else rows

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> (N, C', F', T'); ValueError where x is no image, or of other channels."""
        channels = len(self.weight.data)
        fits = x.dim() == 4 and x.shape[1] == channels
        require(fits, f"ConvTranspose2d takes images (N, {channels}, F, T)", x)
        self.keep(x)
        (kf, kt), (sf, st), (pf, pt) = self.kernel, self.stride, self.padding
        f = (x.shape[2] - 1) * sf - 2 * pf + kf + self.output_padding[0]
        t = (x.shape[3] - 1) * st - 2 * pt + kt + self.output_padding[1]
        weight, bias, place = self.weight.data, self._bias(), (self.stride, self.padding)
        y: Tensor = self.operations().input_gradient(x, weight, (f, t), *place, bias)
        return y

    # y = A^T x with A the convolution, so dL/dx = A dL/dy, and the weight meets the same pairs of
    # values as in A, with the roles of image and gradient exchanged.

    def backward(self, grad_output: Tensor) -> Tensor:
        """(N, C', F', T') -> (N, C, F, T)."""
        (x,) = self.take()
        self._add_bias_gradient(grad_output)
        operations, place = self.operations(), (self.stride, self.padding)
        dw = operations.weight_gradient(grad_output, x, self.kernel, *place)
        self.weight.add_gradient(dw)
        dx: Tensor = operations.correlate(grad_output, self.weight.data, None, *place)
        return dx
