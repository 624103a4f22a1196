"""Sizes and shapes: what convolution and pooling work out, and what every layer insists on."""

from __future__ import annotations

from torch import Tensor

Pair = tuple[int, int]


def pair(value: int | Pair) -> Pair:
    """3 -> (3, 3); (3, 5) stays: one number for frequency and one for time."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def output_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """(F, T) of a convolution's output: floor((F + 2 P - K) / S) + 1 on each axis.

    Raises:
        ValueError: the padded image is smaller than the kernel.
    """
    (f, t), (kf, kt), (sf, st), (pf, pt) = size, kernel, stride, padding
    fo, to = (f + 2 * pf - kf) // sf + 1, (t + 2 * pt - kt) // st + 1
    if fo < 1 or to < 1:
        raise ValueError(f"a {kf}x{kt} kernel does not fit a {f}x{t} image padded by {pf}x{pt}")
    return fo, to


def require_image(layer: str, x: Tensor, channels: int | None = None) -> None:
    """Raises ValueError, naming the layer, unless x is (N, C, F, T), with so many channels."""
    if x.dim() != 4 or (channels is not None and x.shape[1] != channels):
        wanted = "C" if channels is None else channels
        raise ValueError(f"{layer} takes images (N, {wanted}, F, T) and got {tuple(x.shape)}")


def require_channels(layer: str, x: Tensor, channels: int, before: str = "...") -> None:
    """Raises ValueError, naming the layer, unless the last axis of x has `channels` values.

    `before` names the axes in front, with a comma between two; "..." may stand for none.
    """
    if x.dim() < 1 + before.count(",") or x.shape[-1:] != (channels,):
        raise ValueError(f"{layer} takes ({before}, {channels}) and got {tuple(x.shape)}")


def require_bands(layer: str, x: Tensor, bands: int) -> None:
    """Raises ValueError, naming the layer, unless the last axis but one of x has `bands` values."""
    if x.dim() < 2 or x.shape[-2] != bands:
        raise ValueError(f"{layer} takes (..., {bands}, C) and got {tuple(x.shape)}")
