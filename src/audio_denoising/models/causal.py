"""v5's network: small, causal, fine in frequency where voices are and coarse above.

Convolutions over the frequencies of a frame on the way down and up, and between them three pairs of
a recurrence over time and a mixing of bands. Nothing looks ahead and nothing but the recurrence
looks back, so a frame can be answered as soon as it is heard. The plan is FastEnhancer's
(github.com/aask1357/fastenhancer), with a learned matrix per channel where that has attention.

Like the U-Net it is assembled by one function from the layers of our `nn` or of torch.nn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audio_denoising.dsp.constants import FEATURES, OUTPUTS, POSITIONS

if TYPE_CHECKING:
    from torch import Tensor

    from audio_denoising import nn


@dataclass(frozen=True)
class Widths:
    """How large the network is.

    Attributes:
        channels: of the encoders and decoders, at 64 positions.
        bands: into which the positions are grouped for the recurrence.
        features: of each band there.
        encoders: convolutions on the way down, behind the first one.
        blocks: pairs of a recurrence and a band mixing.
    """

    channels: int = 48
    bands: int = 24
    features: int = 36
    encoders: int = 2
    blocks: int = 3


SIZES = {"small": Widths(32, 24, 32, 2, 2), "base": Widths(), "large": Widths(64, 32, 48, 3, 3)}


def assemble(layers: Any, widths: Widths) -> Any:
    """The whole network, features (T, N, 64, 12) -> masks (T, N, 64, 8).

    Args:
        layers: our `nn`, or the namespace of its torch.nn twin (`twin.LAYERS`).
        widths: how large.
    """
    wide, bands, narrow = widths.channels, widths.bands, widths.features

    def convolution(inputs: int) -> list[Any]:
        return [layers.FrequencyConv(inputs, wide, 3, False), layers.BatchNormSiLU(wide)]

    def recurrence() -> Any:
        return layers.Residual(
            layers.Sequential(
                layers.GRU(narrow, narrow),
                layers.Linear(narrow, narrow, False),
                layers.BatchNorm(narrow),
            )
        )

    def band_mix() -> Any:
        return layers.Residual(
            layers.Sequential(
                layers.Linear(narrow, narrow, False),
                layers.ChannelBandMatrix(narrow, bands, bands),
                layers.SiLU(),
                layers.Linear(narrow, narrow, False),
                layers.BatchNorm(narrow),
            )
        )

    def core() -> Any:
        return layers.Sequential(
            layers.BandMatrix(POSITIONS, bands),
            layers.Linear(wide, narrow, False),
            layers.BatchNorm(narrow),
            *(block() for _ in range(widths.blocks) for block in (recurrence, band_mix)),
            layers.BandMatrix(bands, POSITIONS),
            layers.Linear(narrow, wide, False),
            layers.BatchNorm(wide, False),  # the decoder's normalisation takes an offset out again
        )

    def level(depth: int) -> Any:
        """Encoder and decoder number `depth`, and everything below them."""
        inner = core() if depth == widths.encoders else level(depth + 1)
        decode = [layers.Linear(2 * wide, wide, False), layers.BatchNormSiLU(wide)]
        if depth:
            decode += convolution(wide)
        encode = layers.Sequential(*convolution(wide if depth else FEATURES))
        return layers.UNetLevel(encode, inner, layers.Sequential(*decode), -1)

    return layers.Sequential(
        level(0), layers.FrequencyConv(wide, OUTPUTS, 3, True), layers.RadialTanh()
    )


def build(size: str = "base") -> nn.Module:
    """The from-scratch network.

    Raises:
        KeyError: unknown size.
    """
    import torch  # here: sizes are asked for where no network is needed

    from audio_denoising import nn

    widths = SIZES[size]
    model: nn.Module = assemble(nn, widths)
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
    import torch

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
