"""v5's network: small, causal, fine in frequency where voices are and coarse above.

Convolutions over the frequencies of a frame on the way down and up, and between them three pairs of
a recurrence over time and a mixing of bands. Nothing looks ahead and nothing but the recurrence
looks back, so a frame can be answered as soon as it is heard. The plan is FastEnhancer's
(github.com/aask1357/fastenhancer), with a learned matrix per channel where that has attention.

Like the U-Net it is assembled by one function from the layers of our `nn` or of torch.nn. Its
weights as NumPy has them are in `causal_weights`, and those it begins with in `causal_start`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audio_denoising.dsp.constants import FEATURES, OUTPUTS, POSITIONS


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
