"""First values of the weights: He initialisation, which keeps the variance of a signal constant
through layers that are followed by a (leaky) ReLU."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def he_normal(
    shape: tuple[int, ...],
    fan_in: float,
    slope: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Normal weights of standard deviation sqrt(2 / ((1 + slope^2) fan_in)).

    `fan_in` is the number of inputs that feed one output; `slope` the negative slope of the
    activation behind the layer. He et al., "Delving deep into rectifiers", ICCV 2015, eq. 10, 15.
    """
    deviation = math.sqrt(2.0 / ((1.0 + slope**2) * fan_in))
    return torch.randn(shape, generator=generator) * deviation
