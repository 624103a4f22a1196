"""The U-Net of v2, v3, v4 and their twin, from one definition.

`assemble` is written against the names that our engine and torch.nn share (Conv2d, MaxPool2d,
Sequential, ...), so the from-scratch network and its torch twin cannot drift apart: the same
function builds both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audio_denoising import nn

WIDTHS = {"small": (16, 32, 64, 128, 256), "large": (64, 128, 256, 512, 1024)}
"""Channels of encoders 1 to 4 and of the bottleneck."""

SLOPE = 0.2  # of LeakyReLU for negative inputs


@dataclass(frozen=True)
class Plan:
    """What the U-Nets of two versions may differ in."""

    down: str  # "max-pool 2x2" or "strided conv 3x3"
    activation: str  # "ReLU" or "LeakyReLU"
    up: str  # "transposed conv 3x3" or "transposed conv 2x2", both of stride 2


def assemble(layers: Any, plan: Plan, widths: tuple[int, ...]) -> Any:
    """The whole network (N, 1, 256, 256) -> (N, 1, 256, 256), from the layers of one library.

    That is our `nn`, or `twin.LAYERS`; ``widths`` are the channels of the encoders, then of the
    bottleneck.

    An encoder is two 3x3 convolutions and a down-sampling by two; its output is what the skip
    connection carries. A decoder gets the up-sampled level below next to the skip of its own
    shape. Every convolution but the last is followed by the activation. The sigmoid's image is a
    mask on the input image: the skips start at half resolution, so a network that painted the
    clean image itself could not repeat the fine lines of speech that it means to keep.
    """

    def activation() -> Any:
        return layers.ReLU() if plan.activation == "ReLU" else layers.LeakyReLU(SLOPE)

    def double_conv(channels_in: int, channels_out: int) -> list[Any]:
        return [
            layers.Conv2d(channels_in, channels_out, 3, 1, 1),
            activation(),
            layers.Conv2d(channels_out, channels_out, 3, 1, 1),
            activation(),
        ]

    def down(channels: int) -> list[Any]:
        if plan.down == "max-pool 2x2":
            return [layers.MaxPool2d(2)]
        return [layers.Conv2d(channels, channels, 3, 2, 1), activation()]

    def up(channels_in: int, channels_out: int) -> list[Any]:
        if plan.up == "transposed conv 3x3":
            layer = layers.ConvTranspose2d(channels_in, channels_out, 3, 2, 1, 1)
        else:
            layer = layers.ConvTranspose2d(channels_in, channels_out, 2, 2)
        return [layer, activation()]

    def encoder(channels_in: int, channels_out: int) -> Any:
        return layers.Sequential(*double_conv(channels_in, channels_out), *down(channels_out))

    def level(channels_in: int, channels: int, below: tuple[int, ...]) -> Any:
        """Encoder and decoder of `channels`, and everything below them."""
        if not below:  # the bottleneck
            return encoder(channels_in, channels)
        inner = layers.Sequential(level(channels, below[0], below[1:]), *up(below[0], channels))
        decode = layers.Sequential(*double_conv(2 * channels, channels))
        return layers.UNetLevel(encoder(channels_in, channels), inner, decode)

    return layers.Mask(
        layers.Sequential(
            level(1, widths[0], widths[1:]),
            *up(widths[0], widths[0]),
            layers.Conv2d(widths[0], 1, 1),
            layers.Sigmoid(),
        )
    )


def build(plan: Plan, widths: tuple[int, ...], kernels: str = "fast") -> nn.Module:
    """The from-scratch network, ready to be trained, with "fast" or "reference" convolution."""
    from audio_denoising import nn  # here: versions are asked for where no network is needed

    model: nn.Module = assemble(nn, plan, widths)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    for convolution in convolutions:
        convolution.use_kernels(kernels)
    first, head = convolutions[0], convolutions[-1]
    assert isinstance(first, nn.Conv2d)
    first.input_gradient = False  # nothing is trained before it
    # Training starts from a mask of 0.9, close to "change nothing". Started at 1/2, all layers
    # would rush to darken the picture and end on the sigmoid's flat side, for good.
    assert head.bias is not None
    head.weight.data *= 0.1
    head.bias.data.fill_(2.2)
    return model
