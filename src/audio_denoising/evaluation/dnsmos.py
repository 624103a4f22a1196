"""DNSMOS P.835: what listeners would say of speech, noise and the whole, without a clean reference.

The network is Microsoft's (Reddy, Gopal and Cutler, ICASSP 2022), shipped inside the package
``speechmos``; it runs on ``onnxruntime``. Only the network is taken from there: importing the
package's own code would pull in librosa and a numba compiler for a score not reported here.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.errors import UserError

_SECONDS = 9.01  # the stretch that the network hears at once
_STRETCH = int(_SECONDS * SAMPLE_RATE)
# From the network's raw answers to the scale of the listeners, constant term last.
_SIG = (-0.08397278, 1.22083953, 0.0052439)
_BAK = (-0.13166888, 1.60915514, -0.39604546)
_OVRL = (-0.06766283, 1.11546468, 0.04602535)


class Opinion(NamedTuple):
    """Mean opinion scores from 1 (bad) to 5 (excellent)."""

    sig: float  # the speech
    bak: float  # the background: 5 where it does not intrude
    ovrl: float  # the whole


def dnsmos(estimate: ArrayLike, sample_rate: int) -> Opinion:
    """Predicts the three scores of ITU-T P.835.

    A recording below 9.01 s is doubled until it is longer; the answers for stretches of 9.01 s, a
    second apart, are averaged. The network can be fooled by over-suppression: a third opinion
    beside PESQ and SI-SDR, not a judge.

    Args:
        estimate: real samples ``(L,)``; what is beyond [-1, 1] is limited.
        sample_rate: must be 16 000 Hz.

    Raises:
        ValueError: another rate, or no samples.
        UserError: a package is not installed.
    """
    samples = np.clip(np.asarray(estimate, np.float32), -1.0, 1.0)
    if sample_rate != SAMPLE_RATE or samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"DNSMOS takes one channel at {SAMPLE_RATE} Hz")
    while samples.size < _STRETCH:
        samples = np.concatenate([samples, samples])
    count = int(samples.size // SAMPLE_RATE - _SECONDS) + 1
    # Bounds as the package computes them: rounding makes some stretches a sample short, and those
    # it leaves out. So do we, for the same scores.
    bounds = [
        (number * SAMPLE_RATE, int((number + _SECONDS) * SAMPLE_RATE)) for number in range(count)
    ]
    raw = [
        _session().run(None, {"input_1": samples[None, start:stop]})[0][0]
        for start, stop in bounds
        if stop - start >= _STRETCH
    ]
    scales = zip((_SIG, _BAK, _OVRL), np.array(raw, np.float64).T, strict=True)
    return Opinion(*(float(np.mean(np.polyval(scale, answers))) for scale, answers in scales))


@lru_cache(maxsize=1)
def _session() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing("onnxruntime") from error
    package = find_spec("speechmos")
    if package is None or package.origin is None:
        raise _missing("speechmos")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(Path(package.origin).parent / "dnsmos_models" / "sig_bak_ovr.onnx"),
        options,
        providers=["CPUExecutionProvider"],
    )


def _missing(package: str) -> UserError:
    return UserError(
        f"DNSMOS needs the package {package}, which is not installed; pip install {package} "
        "brings it."
    )
