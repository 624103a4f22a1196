"""How close an estimate is to its reference, in the two measures that training tells as well."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


def si_sdr(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Scale-invariant signal-to-distortion ratio in dB; higher is better.

    Both signals lose their mean, the estimate is projected on the reference, and the energy of
    the projection is set against the energy of what is left. Louder or quieter copies of the
    reference score the same. Le Roux, Wisdom, Erdogan and Hershey, "SDR - half-baked or well
    done?", ICASSP 2019.

    Real samples ``(L,)`` -> dB, ``inf`` for an exact copy, ``-inf`` for what is orthogonal.

    Raises:
        ValueError: the shapes differ, or the reference is constant (silence has no direction).
    """
    s_hat, s = one_channel_pair(estimate, reference)
    s_hat = s_hat - s_hat.mean()
    s = s - s.mean()
    energy = float(s @ s)
    if energy == 0.0:
        raise ValueError("SI-SDR is not defined against a silent reference")
    target = (float(s_hat @ s) / energy) * s
    residual = s_hat - target
    kept, lost = float(target @ target), float(residual @ residual)
    if lost == 0.0:
        return float("inf") if kept > 0.0 else float("-inf")
    return 10.0 * float(np.log10(kept / lost)) if kept > 0.0 else float("-inf")


def psnr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of images in [0, 1], -10 log10 of the mean square error.

    Images (N, ...) -> dB (N,), ``inf`` for identical ones. ValueError where the shapes differ.
    """
    _require_same_shape(estimate.shape, reference.shape)
    return -10 * torch.log10((estimate - reference).square().flatten(1).mean(1))


def mean_psnr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean of `psnr` over a batch; an exact copy counts as 120 dB."""
    return psnr(estimate, reference).clamp(max=120).mean()


def one_channel_pair(
    estimate: ArrayLike, reference: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 ``(L,)``; ValueError where the shapes differ, or are not of one channel."""
    s_hat, s = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    _require_same_shape(s_hat.shape, s.shape)
    if s.ndim != 1 or s.size == 0:
        raise ValueError(f"one channel of samples (L,) is expected, not {s.shape}")
    return s_hat, s


def _require_same_shape(estimate: tuple[int, ...], reference: tuple[int, ...]) -> None:
    if estimate != reference:
        raise ValueError(f"estimate {tuple(estimate)} and reference {tuple(reference)} differ")
