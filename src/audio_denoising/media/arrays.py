"""Waveforms as users hold them in memory: NumPy arrays and torch tensors of several dtypes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import numpy.typing as npt

from audio_denoising.errors import UserError
from audio_denoising.media.sndfile import integers
from audio_denoising.samples import Samples

if TYPE_CHECKING:
    from torch import Tensor

Audio = TypeVar("Audio", npt.NDArray[np.generic], "Tensor")

_MOST_CHANNELS = 64
_FULL_SCALE = {"int16": 2**15, "int32": 2**31}  # the integer dtypes that are taken


def to_samples(x: npt.NDArray[np.generic] | Tensor) -> Samples:
    """A waveform ``(samples,)`` or ``(channels, samples)`` as float32 ``(channels, samples)``.

    It is floating point with full scale at 1, or int16 or int32.

    Raises:
        UserError: not an array, of another shape or dtype, lying the other way round, or with
            samples that are not finite.
    """
    torch = sys.modules.get("torch")  # not loaded here: who has a tensor has loaded it
    if torch is not None and isinstance(x, torch.Tensor):
        try:
            plain = x.detach().cpu()
            # NumPy has no bfloat16.
            x = (plain.float() if plain.is_floating_point() else plain).numpy()
        except (TypeError, RuntimeError) as error:  # sparse, quantised, without data
            raise UserError(f"the tensor is no plain one ({error}): convert it first") from error
    if not isinstance(x, np.ndarray):
        raise UserError(
            f"denoise takes a NumPy array, a torch tensor or a file, not a {type(x).__name__}: "
            f"convert it first, for example with numpy.asarray"
        )
    shape = tuple(x.shape)
    if len(shape) not in (1, 2):
        raise UserError(f"the array has shape {shape}: give (samples,) or (channels, samples)")
    if len(shape) == 2 and shape[0] > _MOST_CHANNELS and shape[0] > shape[1]:
        raise UserError(
            f"the array has shape {shape}, which looks like (samples, channels): transpose it to "
            f"(channels, samples)"
        )
    if x.dtype.name not in _FULL_SCALE and not np.issubdtype(x.dtype, np.floating):
        raise UserError(
            f"the array has dtype {x.dtype}: convert it to floating point in [-1, 1], or to int16"
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused
        samples = np.ascontiguousarray(np.atleast_2d(x), dtype=np.float32)
    if not np.isfinite(samples).all():
        raise UserError("the array holds NaN or infinite samples: replace them, for example by 0")
    return samples / np.float32(_FULL_SCALE.get(x.dtype.name, 1))


def from_samples(samples: Samples, like: Audio) -> Audio:
    """Bring float32 samples into the type, dtype, device and number of axes of ``like``.

    Integers are rounded and clipped; they never wrap.
    """
    shape = samples.shape if like.ndim == 2 else samples.shape[1:]
    if isinstance(like, np.ndarray):
        return cast(Audio, _as_dtype(samples, like.dtype).reshape(shape))
    import torch

    integer = str(like.dtype).removeprefix("torch.")
    exact = samples if like.is_floating_point() else _as_dtype(samples, np.dtype(integer))
    return torch.from_numpy(exact).reshape(shape).to(like)


def _as_dtype(samples: Samples, dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    if dtype.name not in _FULL_SCALE:
        return samples.astype(dtype)
    bits = 8 * dtype.itemsize
    return (integers(samples, bits) >> (32 - bits)).astype(dtype)
