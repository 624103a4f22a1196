"""Modules made of modules: a chain, one level of a U-Net, a residue, a mask.

The containers compose the backward passes of what they hold, so no model ever has to spell its
own backward pass out.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from audio_denoising.nn.module import Buffer, Module, Parameter


class Sequential(Module):
    """Layers applied one after the other; the children are named "0", "1", ..."""

    def __init__(self, *layers: Module) -> None:
        self.layers = layers

    def members(self) -> Iterator[tuple[str, Module | Parameter | Buffer]]:
        """The layers by their position, as if they hung on the chain itself."""
        yield from ((name.removeprefix("layers."), held) for name, held in super().members())

    def forward(self, x: Tensor) -> Tensor:
        """y = layer_k(... layer_1(x))."""
        return self._forward(x, False)

    def overwrite(self, x: Tensor) -> Tensor:
        """`forward`, which may overwrite x."""
        return self._forward(x, True)

    def _forward(self, x: Tensor, ours: bool) -> Tensor:
        """`ours`: nobody else knows x."""
        for layer in self.layers:
            x = layer.overwrite(x) if ours else layer(x)
            ours = layer.fresh_output
        return x

    # dL/dx = J_1^T ... J_k^T dL/dy: the same chain, backwards.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Passes the gradient through the layers in reverse order."""
        return self._backward(grad_output, False)

    def overwrite_gradient(self, grad_output: Tensor) -> Tensor:
        """`backward`, which may overwrite grad_output."""
        return self._backward(grad_output, True)

    def _backward(self, grad: Tensor, ours: bool) -> Tensor:
        for layer in reversed(self.layers):
            grad = layer.overwrite_gradient(grad) if ours else layer.backward(grad)
            ours = layer.fresh_output
        return grad


class UNetLevel(Module):
    """One level of a U-Net: `decode(concat(skip, inner(skip)))` with `skip = encode(x)`.

    `inner` is everything below (the next level and the up-sampling that follows it) and must
    return the frequency and time size of `skip`. After Ronneberger, Fischer and Brox, "U-Net",
    MICCAI 2015 (arXiv:1505.04597). The channels' axis is 1 in images (N, C, F, T), -1 in recurrent
    features (T, N, F, C).
    """

    def __init__(self, encode: Module, inner: Module, decode: Module, axis: int = 1) -> None:
        self.encode, self.inner, self.decode, self.axis = encode, inner, decode, axis

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> (N, C', F', T'), or with the channels last throughout.

        ValueError where `inner` returns another size than that of `skip`.
        """
        skip = self.encode(x)
        up = self.inner(skip)
        sizes = [[n for i, n in enumerate(y.shape) if i != self.axis % y.dim()] for y in (skip, up)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"UNetLevel cannot join {tuple(skip.shape)} with {tuple(up.shape)} from below: the "
                "sides of an image must be even at every level"
            )
        self.keep(skip.shape[self.axis])
        return self.decode.overwrite(torch.cat((skip, up), dim=self.axis))

    # The concatenation hands each half of its gradient back to where it came from. `skip` was used
    # twice (by the concatenation and by `inner`), so its two gradients add up.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x."""
        (first,), axis = self.take(), self.axis
        grad = self.decode.backward(grad_output)
        grad_skip, grad_up = grad.split((first, grad.shape[axis] - first), axis)
        in_memory = torch.channels_last if axis == 1 else torch.contiguous_format
        grad_up = grad_up.contiguous(memory_format=in_memory)
        return self.encode.overwrite_gradient(self.inner.backward(grad_up) + grad_skip)


class Residual(Module):
    """y = x + inner(x): `inner` learns what to change. He et al., CVPR 2016 (arXiv:1512.03385)."""

    fresh_output = True

    def __init__(self, inner: Module) -> None:
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that `inner` keeps; ValueError if it does not."""
        return x + _alike("Residual", self.inner(x), x)

    # dL/dx = dL/dy + J^T dL/dy.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x."""
        return self.inner.backward(grad_output) + grad_output


class Mask(Module):
    """y = x * inner(x): `inner` does not paint the output, it dims the input.

    With an `inner` that ends in a sigmoid no pixel gets brighter, and where nothing is to be done
    every detail of the input passes. `inner` must return the shape of x.
    """

    def __init__(self, inner: Module) -> None:
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, F, T) -> the same shape; ValueError if `inner` returns another one."""
        mask = _alike("Mask", self.inner(x), x)
        self.keep(x, mask)
        return x * mask

    # y = x m(x):  dL/dm = x dL/dy, which goes on through `inner`;  dL/dx = m dL/dy + inner's.

    def backward(self, grad_output: Tensor) -> Tensor:
        """Gradient at x; empty if `inner` does not compute one."""
        x, mask = self.take()
        grad = self.inner.overwrite_gradient(grad_output * x)
        return grad + grad_output * mask if grad.numel() else grad


def _alike(layer: str, y: Tensor, x: Tensor) -> Tensor:
    """y, which must have the shape of x: torch would stretch it where it can."""
    if y.shape != x.shape:
        raise ValueError(f"{layer} needs {tuple(x.shape)} from inside and got {tuple(y.shape)}")
    return y
