"""All the scores of one cleaned recording: which there are, and how they are called and printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from audio_denoising.dsp.measures import si_sdr
from audio_denoising.evaluation.metrics import (
    dnsmos,
    image_psnr,
    log_spectral_distance,
    pesq_wb,
    segmental_snr,
    stoi,
)
from audio_denoising.samples import Samples

Scores = dict[str, float | None]
"""metric -> value; None where the metric is not defined for the recording."""

_WIDEST_DB = 60.0  # of SI-SDR: one silent or perfect output must not rule a mean


@dataclass(frozen=True)
class Metric:
    """One column: title with unit, decimals that mean something, and whether more is better.

    Those with a ``meaning`` are enough to compare a few takes by; it says what they tell.
    """

    title: str
    digits: int
    meaning: str = ""
    rising: bool = True


METRICS: dict[str, Metric] = {
    "pesq_wb": Metric("PESQ", 2, "how natural speech sounds, from 1 (bad) to 4.6 (clean)"),
    "stoi": Metric("STOI", 3, "how much of the words can be understood, from 0 to 1"),
    "estoi": Metric("ESTOI", 3),
    "si_sdr": Metric("SI-SDR dB", 1, "how far the voice stands above everything else"),
    "segmental_snr": Metric("segSNR dB", 1, "signal over error, averaged over short stretches"),
    "lsd": Metric("LSD dB", 1, "how far the spectrum is from the clean one", rising=False),
    "sig": Metric("SIG", 2),
    "bak": Metric("BAK", 2),
    "ovrl": Metric("OVRL", 2, "opinion that listeners would have (DNSMOS), from 1 to 5"),
    "image_psnr": Metric("PSNR dB", 1),
}
"""Key in the results -> its column, in the order of the table."""


@dataclass(frozen=True)
class _Measure:
    """Metrics that are computed together, and the packages that this takes."""

    keys: tuple[str, ...]
    packages: tuple[str, ...]
    compute: Callable[[Samples, Samples], Sequence[float]]


_MEASURES = (
    _Measure(("pesq_wb",), ("pesq",), lambda x, s: [pesq_wb(x, s)]),
    _Measure(("stoi", "estoi"), ("pystoi",), lambda x, s: [stoi(x, s), stoi(x, s, extended=True)]),
    _Measure(("si_sdr",), (), lambda x, s: [limited(si_sdr(x, s))]),
    _Measure(("segmental_snr",), (), lambda x, s: [segmental_snr(x, s)]),
    _Measure(("lsd",), (), lambda x, s: [log_spectral_distance(x, s)]),
    _Measure(("sig", "bak", "ovrl"), ("speechmos", "onnxruntime"), lambda x, s: dnsmos(x)),
    _Measure(("image_psnr",), (), lambda x, s: [limited(image_psnr(x, s))]),
)
PACKAGES = tuple(package for measure in _MEASURES for package in measure.packages)


def missing() -> dict[str, tuple[str, ...]]:
    """Package that is not installed -> the metrics that are left out without it."""
    return {
        package: measure.keys
        for measure in _MEASURES
        for package in measure.packages
        if find_spec(package) is None
    }


def score(estimate: Samples, reference: Samples) -> Scores:
    """Scores one estimate, both ``(L,)`` at 16 kHz.

    Returns:
        A number for every metric whose packages are installed, in the order of ``METRICS``; None
        where the metric is not defined for this pair: the reference silent, the pair too short.
    """
    scores: Scores = {}
    for measure in _MEASURES:
        if not all(find_spec(package) for package in measure.packages):
            continue
        try:
            values: Sequence[float | None] = measure.compute(estimate, reference)
        except ValueError:
            values = [None] * len(measure.keys)
        for key, value in zip(measure.keys, values, strict=True):
            defined = value is not None and math.isfinite(value)
            scores[key] = round(value, 4) if value is not None and defined else None
    return scores


def limited(decibels: float) -> float:
    """Decibels as they enter means: 60 for a perfect output, -60 for a silent one."""
    return min(_WIDEST_DB, max(-_WIDEST_DB, decibels))
