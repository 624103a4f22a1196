"""How close a cleaned recording is to the clean one, as single numbers.

``L`` is the number of samples. Every function takes the estimate first and the reference second.
SI-SDR and PSNR are computed here; PESQ and STOI come from the packages ``pesq`` and ``pystoi``,
which are optional (`pip install "audio-denoising[evaluation]"`).
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError


def si_sdr(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Scale-invariant signal-to-distortion ratio in dB; higher is better.

    Both signals lose their mean, the estimate is projected on the reference, and the energy of
    the projection is set against the energy of what is left. Louder or quieter copies of the
    reference score the same. Le Roux, Wisdom, Erdogan and Hershey, "SDR - half-baked or well
    done?", ICASSP 2019.

    Args:
        estimate: real samples ``(L,)``, on any scale.
        reference: real samples ``(L,)``.

    Returns:
        dB; ``inf`` for an exact copy, ``-inf`` for an estimate orthogonal to the reference.

    Raises:
        ValueError: the shapes differ, or the reference is constant (silence has no direction).
    """
    s_hat, s = _pair(estimate, reference)
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


def psnr(estimate: ArrayLike, reference: ArrayLike, *, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio of two images in dB: ``20 log10(peak / RMSE)``.

    Args:
        estimate: image of any shape.
        reference: image of the same shape.
        peak: the largest value a pixel can have; 1 for the spectrogram images of this project.

    Returns:
        dB; ``inf`` for identical images.

    Raises:
        ValueError: the shapes differ.
    """
    difference = np.asarray(estimate, np.float64) - _same_shape(estimate, reference)
    mean_square = float(np.mean(difference**2))
    return 10.0 * float(np.log10(peak**2 / mean_square)) if mean_square > 0.0 else float("inf")


def pesq_wb(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Wide-band PESQ, an estimate of what listeners would say: from 1.04 (bad) to 4.64 (clean).

    ITU-T P.862.2, as implemented by the package ``pesq``.

    Args:
        estimate: real samples ``(L,)`` in [-1, 1].
        reference: real samples ``(L,)``.
        sample_rate: must be 16 000 Hz; the wide-band standard knows no other.

    Raises:
        ValueError: another rate, different shapes, or a reference without speech.
        UserError: the package is not installed.
    """
    if sample_rate != 16_000:
        raise ValueError(f"wide-band PESQ is defined at 16000 Hz, not {sample_rate} Hz")
    degraded, clean = _pair(estimate, reference)
    if not clean.any():
        raise ValueError("PESQ is not defined against a silent reference")
    module = _optional("pesq", "PESQ")
    try:
        return float(module.pesq(sample_rate, clean, degraded, "wb"))
    except module.PesqError as error:
        raise ValueError(f"PESQ has no score for this pair: {error}") from error


def stoi(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Short-time objective intelligibility, from about 0 (lost) to 1 (every word understood).

    Taal, Hendriks, Heusdens and Jensen, IEEE TASLP 19(7), 2011, by the package ``pystoi``.

    Args:
        estimate: real samples ``(L,)``.
        reference: real samples ``(L,)``, at least about 0.4 s of speech.
        sample_rate: in Hz; other rates than 10 kHz are resampled inside.

    Raises:
        ValueError: the shapes differ.
        UserError: the package is not installed.
    """
    processed, clean = _pair(estimate, reference)
    return float(_optional("pystoi", "STOI").stoi(clean, processed, sample_rate, extended=False))


def _pair(
    estimate: ArrayLike, reference: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    reference = _same_shape(estimate, reference)
    estimate = np.asarray(estimate, np.float64)
    if estimate.ndim != 1 or estimate.size == 0:
        raise ValueError(f"one channel of samples (L,) is expected, not {estimate.shape}")
    return estimate, reference


def _same_shape(estimate: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(reference, np.float64)
    if np.shape(estimate) != array.shape:
        raise ValueError(f"estimate {np.shape(estimate)} and reference {array.shape} differ")
    return array


def _optional(package: str, metric: str) -> ModuleType:
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(
            f"{metric} needs the package {package}, which is not installed; "
            'pip install "audio-denoising[evaluation]" brings it.'
        ) from error
