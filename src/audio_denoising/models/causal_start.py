"""v5's network as training begins with it: bands as overlapping triangles, close to no change."""

from __future__ import annotations

import torch
from torch import Tensor

from audio_denoising import nn
from audio_denoising.dsp.constants import OUTPUTS, POSITIONS
from audio_denoising.models import causal


def build(size: str = "base") -> nn.Module:
    """The from-scratch network.

    Raises:
        KeyError: unknown size.
    """
    widths = causal.SIZES[size]
    model: nn.Module = causal.assemble(nn, widths)
    layers = list(model.modules())
    convolutions = [layer for layer in layers if isinstance(layer, nn.FrequencyConv)]
    convolutions[0].input_gradient = False  # nothing is trained before it
    if convolutions[0].weight.data.is_meta:  # there is nothing to fill
        return model
    down, up = (layer for layer in layers if isinstance(layer, nn.BandMatrix))
    triangles = overlapping_triangles(POSITIONS, widths.bands)
    down.weight.data.copy_(triangles / triangles.sum(1, keepdim=True))
    up.weight.data.copy_((triangles / triangles.sum(0)).t())
    for layer in layers:
        if isinstance(layer, nn.Residual):
            norm = list(layer.modules())[-1]
            assert isinstance(norm, nn.BatchNorm)
            norm.weight.data.fill_(0.5)
    # Training starts from a mask of tanh(1) everywhere, close to "change nothing".
    head = convolutions[-1]
    assert head.bias is not None
    head.weight.data *= 0.1
    head.bias.data.copy_(torch.tensor([1.0, 0.0]).repeat(OUTPUTS // 2))
    return model


def overlapping_triangles(positions: int, bands: int) -> Tensor:
    """(bands, positions): each band rises from the centre of the band below to its own and falls.

    The first third of the bands are one position (125 Hz) each; above, centres lie at equal ratios,
    up to the last position.
    """
    single = bands // 3
    ratios = torch.arange(bands - single) / (bands - 1 - single)
    high = single * ((positions - 1) / single) ** ratios
    centres = torch.cat((torch.arange(single, dtype=torch.float32), high))
    places = torch.arange(positions, dtype=torch.float32)
    edges = torch.cat((centres[:1] - 1, centres, centres[-1:] + 1))
    below, above = edges[:-2, None], edges[2:, None]
    middle = centres[:, None]
    rise = (places - below) / (middle - below).clamp(min=1e-6)
    fall = (above - places) / (above - middle).clamp(min=1e-6)
    return torch.minimum(rise, fall).clamp(0, 1)
