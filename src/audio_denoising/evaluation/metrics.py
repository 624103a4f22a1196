"""How close a cleaned recording is to the clean one, as single numbers.

Every function takes the estimate first and the reference second: real samples ``(L,)`` in [-1, 1],
at 16 kHz. It raises ValueError where the shapes differ, or where there is no score: against a
silent reference, or one that is too short. SI-SDR is in ``dsp.measures``; PESQ, STOI and DNSMOS
need the packages ``pesq``, ``pystoi``, and ``speechmos`` with ``onnxruntime``, which are optional.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from audio_denoising.dsp.measures import one_channel_pair, psnr
from audio_denoising.dsp.spectrum import SAMPLE_RATE, image, level_db, stft

_FRAME = 480  # samples (30 ms) of the segmental SNR, a quarter of it from one frame to the next
_FRAME_SNR_DB = (-10.0, 35.0)


def pesq_wb(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Wide-band PESQ, an estimate of what listeners would say: from 1.04 (bad) to 4.64 (clean).

    ITU-T P.862.2, as implemented by the package ``pesq``.
    """
    import pesq

    degraded, clean = _pair(estimate, reference)
    try:
        return float(pesq.pesq(SAMPLE_RATE, clean, degraded, "wb"))
    except pesq.PesqError as error:
        raise ValueError(f"PESQ has no score for this pair: {error}") from error


def stoi(estimate: ArrayLike, reference: ArrayLike, *, extended: bool = False) -> float:
    """Short-time objective intelligibility, from about 0 (lost) to 1 (every word understood).

    Taal, Hendriks, Heusdens and Jensen, IEEE TASLP 19(7), 2011; with ``extended`` ESTOI, which
    judges noise that comes and goes better: Jensen and Taal, IEEE/ACM TASLP 24(11), 2016. Both by
    the package ``pystoi``; they want about 0.4 s of speech.
    """
    import pystoi

    processed, clean = _pair(estimate, reference)
    with warnings.catch_warnings():
        # The package warns and answers 1e-5 where there is nothing to judge.
        warnings.simplefilter("error", RuntimeWarning)
        # Where an estimate is digitally silent, ESTOI correlates rounding noise that the package
        # draws from numpy's global generator: the same noise every time, and the state put back.
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(0)  # noqa: NPY002
        try:
            return float(pystoi.stoi(clean, processed, SAMPLE_RATE, extended=extended))
        except (RuntimeWarning, ValueError) as error:
            raise ValueError(f"STOI has no score for this pair: {error}") from error
        finally:
            np.random.set_state(state)  # noqa: NPY002


def segmental_snr(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Segmental signal-to-noise ratio in dB: the mean over short frames; higher is better.

    Frames of 30 ms under a Hann window, a quarter of a frame apart; every frame's ratio
    ``10 log10(sum s² / sum (s - ŝ)²)`` is limited to -10 ... 35 dB. Hansen and Pellom, ICSLP 1998,
    with the framing of Loizou's ``comp_snr`` (Speech Enhancement, 2nd ed., 2013).
    """
    s_hat, s = _pair(estimate, reference)
    if s.size < _FRAME:
        raise ValueError("segmental SNR is not defined for so short a reference")
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, _FRAME + 1) / (_FRAME + 1)))
    frames, errors = (
        np.lib.stride_tricks.sliding_window_view(signal, _FRAME)[:: _FRAME // 4] * window
        for signal in (s, s - s_hat)
    )
    tiny = np.finfo(np.float64).eps
    ratios = 10 * np.log10((frames**2).sum(axis=1) / ((errors**2).sum(axis=1) + tiny) + tiny)
    return float(np.mean(np.clip(ratios, *_FRAME_SNR_DB)))


def log_spectral_distance(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Log-spectral distance in dB: how far the levels are apart; 0 for a copy, lower is better.

    The root of the mean square difference of levels over frequency, then the mean over frames.
    Gray and Markel, IEEE TASSP 24(5), 1976; on the project's own spectrogram, whose levels end at
    -80 dB re full scale, so that digital silence is at a finite distance from sound.
    """
    ours, theirs = (level_db(stft(torch.from_numpy(x))) for x in _pair(estimate, reference))
    return float((ours - theirs).square().mean(dim=0).sqrt().mean())


def image_psnr(estimate: ArrayLike, reference: ArrayLike) -> float:
    """PSNR in dB of the spectrogram images that the networks work on; higher is better."""
    ours, theirs = (image(stft(torch.from_numpy(x))) for x in _pair(estimate, reference))
    return float(psnr(ours[None], theirs[None]))


def _pair(estimate: ArrayLike, reference: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both, the reference not silent."""
    pair = one_channel_pair(estimate, reference)
    if not pair[1].any():
        raise ValueError("nothing can be said against a silent reference")
    return pair


_SECONDS = 9.01  # the stretch that the network hears at once
_STRETCH = int(_SECONDS * SAMPLE_RATE)
# From the network's raw answers to the scale of the listeners, constant term last.
_SIG = (-0.08397278, 1.22083953, 0.0052439)
_BAK = (-0.13166888, 1.60915514, -0.39604546)
_OVRL = (-0.06766283, 1.11546468, 0.04602535)


def dnsmos(estimate: ArrayLike) -> tuple[float, float, float]:
    """Predicts the three mean opinion scores of ITU-T P.835, from 1 to 5, without a reference.

    SIG is of the speech, BAK of the background (5: it does not intrude), OVRL of the whole.

    A recording below 9.01 s is doubled until it is longer; the answers for stretches of 9.01 s, a
    second apart, are averaged. What is beyond [-1, 1] is limited. The network can be fooled by
    over-suppression: a third opinion beside PESQ and SI-SDR, not a judge.
    """
    samples = np.clip(np.asarray(estimate, np.float32), -1.0, 1.0)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError("DNSMOS takes one channel of samples")
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
    answers = zip((_SIG, _BAK, _OVRL), np.array(raw, np.float64).T, strict=True)
    sig, bak, ovrl = (float(np.polyval(scale, each).mean()) for scale, each in answers)
    return sig, bak, ovrl


@lru_cache(maxsize=1)
def _session() -> Any:
    """The network; the package around it would import far more than it needs."""
    import onnxruntime

    package = find_spec("speechmos")
    assert package is not None and package.origin is not None, "pip install speechmos"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = Path(package.origin).parent / "dnsmos_models" / "sig_bak_ovr.onnx"
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
