"""Gradient clipping: one bad batch must not throw the weights far away."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audio_denoising.nn.module import Parameter


def gradient_norm(parameters: Sequence[Parameter]) -> Tensor:
    """The joint L2 norm of all gradients; not a number where one of them is not."""
    return torch.stack(torch._foreach_norm([p.grad for p in parameters])).square().sum().sqrt()


def clip_gradient_norm(parameters: Sequence[Parameter], maximum: float) -> Tensor:
    """Scales all gradients so that their joint L2 norm is at most `maximum`; returns the old norm.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013, algorithm 1.
    """
    norm = gradient_norm(parameters)
    torch._foreach_mul_([p.grad for p in parameters], (maximum / (norm + 1e-6)).clamp(max=1.0))
    return norm
