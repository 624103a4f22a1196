"""Convolution layers: local, shift-invariant linear maps of an image.

Both layers are made of the same three operations: `correlate`, its `weight_gradient` and its
`input_gradient` (and the pairs of them that a backward pass needs). `im2col.py` has the readable
form of all three. The fast ones are chosen by the layer's shape: `winograd.py` for 3x3 kernels and
many channels, `row_lowering.py` for everything else. A transposed convolution is the adjoint of a
convolution, so it runs the convolution's backward pass forwards and its forward pass backwards.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from audio_denoising.nn import im2col, row_lowering, winograd
from audio_denoising.nn.geometry import Pair, pair, require_image, transposed_size
from audio_denoising.nn.initialisation import he_normal
from audio_denoising.nn.module import Module, Parameter

KERNELS = ("fast", "reference")


class Convolution(Module):
    """What both layers share: geometry, weight, bias, and the choice of the kernels."""

    fresh_output = True

    def __init__(
        self,
        weight: Tensor,
        out_channels: int,
        stride: int | Pair,
        padding: int | Pair,
        bias: bool,
        kernels: str,
    ) -> None:
        # In memory the order is (K_f, K_t, C, C'), as the fast products read it.
        self.weight = Parameter(weight.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1))
        self.bias = Parameter(torch.zeros(out_channels)) if bias else None
        self.kernel: Pair = (weight.shape[2], weight.shape[3])
        self.stride = pair(stride)
        self.padding = pair(padding)
        self.input: Tensor | None = None
        self.use_kernels(kernels)

    def use_kernels(self, name: str) -> None:
        """Chooses the operations: "fast" or "reference".

        Raises:
            ValueError: another name.
        """
        if name not in KERNELS:
            raise ValueError(f"unknown kernels {name!r}: choose {' or '.join(KERNELS)}")
        self.operations = im2col if name == "reference" else self._fast_operations()

    def __getstate__(self) -> dict[str, Any]:
        # Pickle takes no modules, only their names.
        return {**vars(self), "operations": self.operations.__name__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, operations=import_module(state["operations"]))

    def _fast_operations(self) -> ModuleType:
        """The fastest way for this layer's shape."""
        return row_lowering

    def _take_input(self, grad_output: Tensor) -> Tensor:
        """The stored input; adds up the bias gradient, dL/db = sum of dL/dy over N, F, T."""
        assert self.input is not None, "backward needs a forward pass in training mode"
        x, self.input = self.input, None
        if self.bias is not None:
            self.bias.add_gradient(grad_output.sum((0, 2, 3)))
        return x

    def _bias(self) -> Tensor | None:
        return None if self.bias is None else self.bias.data


class Conv2d(Convolution):
    """y = W * x + b (a cross-correlation, as everywhere in the field).

    Args:
        in_channels: C. out_channels: C'.
        kernel, stride, padding: one number for both axes or (frequency, time).
        slope: negative slope of the activation that follows, for He initialisation.
        input_gradient: False for a first layer: `backward` then returns an empty tensor instead of
            a gradient that nobody reads.
        kernels: "fast" or "reference".

    Shapes: (N, C, F, T) -> (N, C', (F + 2P - K) // S + 1, ...).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
        slope: float = 0.0,
        input_gradient: bool = True,
        kernels: str = "fast",
    ) -> None:
        kf, kt = pair(kernel)
        weight = he_normal((out_channels, in_channels, kf, kt), in_channels * kf * kt, slope)
        super().__init__(weight, out_channels, stride, padding, bias, kernels)
        self.input_gradient = input_gradient

    def _fast_operations(self) -> ModuleType:
        channels_out, channels_in = self.weight.data.shape[:2]
        if winograd.suits(self.kernel, self.stride, channels_in, channels_out):
            return winograd
        return row_lowering

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> (N, C', F', T').

        Raises:
            ValueError: x is no image, of other channels, or smaller than the kernel.
        """
        require_image("Conv2d", x, self.weight.data.shape[1])
        self.input = x if self.training else None
        y: Tensor = self.operations.correlate(
            x, self.weight.data, self._bias(), self.stride, self.padding
        )
        return y

    # dL/dW = sum over positions of dL/dy (outer) patch;  dL/dx = W transposed, spread over patches.

    def backward(self, grad_output: Tensor) -> Tensor:
        """(N, C', F', T') -> (N, C, F, T)."""
        x = self._take_input(grad_output)
        dx = x.new_empty(0)
        if self.input_gradient:
            dx, dw = self.operations.gradients(
                x, grad_output, self.weight.data, self.stride, self.padding
            )
        else:
            dw = self.operations.weight_gradient(
                x, grad_output, self.kernel, self.stride, self.padding
            )
        self.weight.add_gradient(dw)
        return dx


class ConvTranspose2d(Convolution):
    """The adjoint of `Conv2d(out_channels, in_channels, ...)`, plus a bias: it up-samples by S.

    The weight has the shape (C, C', K_f, K_t), as in torch.nn. `output_padding` adds rows at the
    end, which tells apart the input sizes that a strided convolution maps to the same output.

    Shapes: (N, C, F, T) -> (N, C', (F - 1) S - 2P + K + output padding, ...).

    Raises:
        ValueError: the output padding is not smaller than the stride.
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
        slope: float = 0.0,
        kernels: str = "fast",
    ) -> None:
        kf, kt = pair(kernel)
        sf, st = pair(stride)
        # An output pixel is fed by K/S taps of every input channel, on average.
        fan_in = in_channels * (kf / sf) * (kt / st)
        weight = he_normal((in_channels, out_channels, kf, kt), fan_in, slope)
        super().__init__(weight, out_channels, stride, padding, bias, kernels)
        self.output_padding = pair(output_padding)
        if self.output_padding[0] >= sf or self.output_padding[1] >= st:
            raise ValueError("output_padding must be smaller than the stride")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> (N, C', F', T').

        Raises:
            ValueError: x is no image, or of other channels.
        """
        require_image("ConvTranspose2d", x, len(self.weight.data))
        self.input = x if self.training else None
        size = transposed_size(
            (x.shape[2], x.shape[3]), self.kernel, self.stride, self.padding, self.output_padding
        )
        y: Tensor = self.operations.input_gradient(
            x, self.weight.data, size, self.stride, self.padding, self._bias()
        )
        return y

    # y = A^T x with A the convolution, so dL/dx = A dL/dy, and the weight meets the same pairs of
    # values as in A, with the roles of image and gradient exchanged.

    def backward(self, grad_output: Tensor) -> Tensor:
        """(N, C', F', T') -> (N, C, F, T)."""
        x = self._take_input(grad_output)
        dx: Tensor
        dx, dw = self.operations.transposed_gradients(
            x, grad_output, self.weight.data, self.stride, self.padding
        )
        self.weight.add_gradient(dw)
        return dx
