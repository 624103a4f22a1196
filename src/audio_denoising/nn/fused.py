"""Element-wise formulas that a GPU should compute in one go.

On a GPU every tensor operation is a trip of all its values through memory. These functions are
plain tensor expressions, the ones of `batch_norm` and `gru`; `fused` hands each as a whole to
torch.compile, which makes one kernel of it. On a CPU the layers work block by block in the cache
instead, and nothing here is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def wanted(x: Tensor) -> bool:
    """Whether a layer should compute x this way."""
    return x.is_cuda


def fused(function: Function) -> Function:
    """The function, compiled when it is first called with tensors on a GPU."""
    compiled = torch.compile(function, dynamic=False)

    def call(*tensors: Tensor) -> Any:
        return (compiled if tensors[0].is_cuda else function)(*tensors)

    call.__doc__ = function.__doc__
    return call  # type: ignore[return-value]


@fused
def affine(z: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """p = a z + k."""
    return torch.addcmul(shift, z, scale)


@fused
def affine_silu(z: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """SiLU(p), p = a z + k."""
    p = torch.addcmul(shift, z, scale)
    return p * torch.sigmoid(p)


@fused
def affine_sums(z: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the rows of dL/dp and of dL/dp z."""
    return grad.sum(0), (grad * z).sum(0)


@fused
def affine_silu_sums(
    z: Tensor, grad: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """The same from dL/dSiLU(p)."""
    dp = grad * _silu_slope(torch.addcmul(shift, z, scale))
    return dp.sum(0), (dp * z).sum(0)


@fused
def affine_input(z: Tensor, grad: Tensor, scale: Tensor, k0: Tensor, k1: Tensor) -> Tensor:
    """dL/dz = a dL/dp + k0 + k1 z."""
    return grad * scale + k0 + k1 * z


@fused
def affine_silu_input(
    z: Tensor, grad: Tensor, scale: Tensor, shift: Tensor, k0: Tensor, k1: Tensor
) -> Tensor:
    """The same from dL/dSiLU(p)."""
    return grad * _silu_slope(torch.addcmul(shift, z, scale)) * scale + k0 + k1 * z


@fused
def gru_frame(from_input: Tensor, from_state: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(next state, gates r and z, candidate) of one frame of a GRU."""
    hidden = h.shape[1]
    gates = torch.sigmoid(from_input[:, : 2 * hidden] + from_state[:, : 2 * hidden])
    reset, update = gates[:, :hidden], gates[:, hidden:]
    candidate = torch.tanh(from_input[:, 2 * hidden :] + reset * from_state[:, 2 * hidden :])
    return candidate + update * (h - candidate), gates, candidate


@fused
def gru_frame_gradients(
    grad: Tensor, later: Tensor, gates: Tensor, candidate: Tensor, from_state: Tensor, h: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(gradient at from_input, at from_state, what the state before gets by the update gate)."""
    hidden = h.shape[1]
    reset, update = gates[:, :hidden], gates[:, hidden:]
    dh = grad + later
    d_candidate = dh * (1 - update) * (1 - candidate * candidate)
    d_reset = d_candidate * from_state[:, 2 * hidden :] * reset * (1 - reset)
    d_update = dh * (h - candidate) * update * (1 - update)
    at_input = torch.cat((d_reset, d_update, d_candidate), 1)
    at_state = torch.cat((d_reset, d_update, d_candidate * reset), 1)
    return at_input, at_state, dh * update


def _silu_slope(p: Tensor) -> Tensor:
    s = torch.sigmoid(p)
    return s * (1 + p * (1 - s))
