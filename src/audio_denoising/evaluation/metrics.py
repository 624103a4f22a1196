"""How close a cleaned recording is to the clean one, as single numbers.

``L`` is the number of samples. Every function takes the estimate first and the reference second.
Segmental SNR, log-spectral distance and the PSNR of images are computed here, SI-SDR in
``dsp.measures``; PESQ and STOI come from the packages ``pesq`` and ``pystoi``, which are optional
(`pip install pesq pystoi`).
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from audio_denoising.dsp.measures import one_channel_pair, psnr
from audio_denoising.dsp.spectrum import SAMPLE_RATE, image, level_db, stft
from audio_denoising.errors import UserError

_FRAME_SECONDS = 0.030  # of the segmental SNR, a quarter of it from one frame to the next
_FRAME_SNR_DB = (-10.0, 35.0)


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
    degraded, clean = one_channel_pair(estimate, reference)
    if not clean.any():
        raise ValueError("PESQ is not defined against a silent reference")
    module = _optional("pesq", "PESQ")
    try:
        return float(module.pesq(sample_rate, clean, degraded, "wb"))
    except module.PesqError as error:
        raise ValueError(f"PESQ has no score for this pair: {error}") from error


def stoi(
    estimate: ArrayLike, reference: ArrayLike, sample_rate: int, *, extended: bool = False
) -> float:
    """Short-time objective intelligibility, from about 0 (lost) to 1 (every word understood).

    Taal, Hendriks, Heusdens and Jensen, IEEE TASLP 19(7), 2011; with ``extended`` ESTOI, which
    judges noise that comes and goes better: Jensen and Taal, IEEE/ACM TASLP 24(11), 2016. Both by
    the package ``pystoi``.

    Args:
        estimate: real samples ``(L,)``.
        reference: real samples ``(L,)``, at least about 0.4 s of speech.
        sample_rate: in Hz; other rates than 10 kHz are resampled inside.
        extended: ESTOI instead of STOI.

    Raises:
        ValueError: the shapes differ, or the reference holds too little speech.
        UserError: the package is not installed.
    """
    processed, clean = one_channel_pair(estimate, reference)
    if not clean.any():
        raise ValueError("STOI is not defined against a silent reference")
    module = _optional("pystoi", "STOI")
    with warnings.catch_warnings():
        # The package warns and answers 1e-5 where there is nothing to judge.
        warnings.simplefilter("error", RuntimeWarning)
        # Where an estimate is digitally silent, ESTOI correlates rounding noise that the package
        # draws from numpy's global generator: the same noise every time, and the state put back.
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(0)  # noqa: NPY002
        try:
            return float(module.stoi(clean, processed, sample_rate, extended=extended))
        except (RuntimeWarning, ValueError) as error:
            raise ValueError(f"STOI has no score for this pair: {error}") from error
        finally:
            np.random.set_state(state)  # noqa: NPY002


def segmental_snr(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Segmental signal-to-noise ratio in dB: the mean over short frames; higher is better.

    Frames of 30 ms under a Hann window, a quarter of a frame apart; every frame's ratio
    ``10 log10(sum s² / sum (s - ŝ)²)`` is limited to -10 ... 35 dB. Hansen and Pellom, ICSLP 1998,
    with the framing of Loizou's ``comp_snr`` (Speech Enhancement, 2nd ed., 2013).

    Args:
        estimate: real samples ``(L,)``, on the scale of the reference.
        reference: real samples ``(L,)``, at least one frame.
        sample_rate: in Hz.

    Raises:
        ValueError: the shapes differ, the pair is shorter than a frame, or the reference silent.
    """
    s_hat, s = one_channel_pair(estimate, reference)
    length = round(_FRAME_SECONDS * sample_rate)
    if s.size < length or not s.any():
        raise ValueError("segmental SNR is not defined for so short or silent a reference")
    hop = length // 4
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, length + 1) / (length + 1)))
    frames, errors = (
        np.lib.stride_tricks.sliding_window_view(signal, length)[::hop] * window
        for signal in (s, s - s_hat)
    )
    tiny = np.finfo(np.float64).eps
    ratios = 10 * np.log10((frames**2).sum(axis=1) / ((errors**2).sum(axis=1) + tiny) + tiny)
    return float(np.mean(np.clip(ratios, *_FRAME_SNR_DB)))


def log_spectral_distance(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Log-spectral distance in dB: how far the levels are apart; 0 for a copy, lower is better.

    The root of the mean square difference of levels over frequency, then the mean over frames.
    Gray and Markel, IEEE TASSP 24(5), 1976; on the project's own spectrogram, whose levels end at
    -80 dB re full scale, so that digital silence is at a finite distance from sound.

    Args:
        estimate: real samples ``(L,)`` in [-1, 1].
        reference: real samples ``(L,)``.
        sample_rate: must be 16 000 Hz, the rate of the spectrogram.

    Raises:
        ValueError: another rate, different shapes, or a silent reference.
    """
    pair = _tensors(estimate, reference, sample_rate)
    ours, theirs = (level_db(stft(waveform)) for waveform in pair)
    return float((ours - theirs).square().mean(dim=0).sqrt().mean())


def image_psnr(estimate: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """PSNR in dB of the spectrogram images that the networks work on; higher is better.

    Args, errors: as for :func:`log_spectral_distance`.
    """
    pair = _tensors(estimate, reference, sample_rate)
    ours, theirs = (image(stft(waveform)) for waveform in pair)
    return float(psnr(ours[None], theirs[None]))


def _tensors(
    estimate: ArrayLike, reference: ArrayLike, sample_rate: int
) -> tuple[torch.Tensor, torch.Tensor]:
    if sample_rate != SAMPLE_RATE:
        raise ValueError(f"the spectrogram is defined at {SAMPLE_RATE} Hz, not {sample_rate} Hz")
    ours, theirs = one_channel_pair(estimate, reference)
    if not theirs.any():
        raise ValueError("the distance of spectrograms says nothing against a silent reference")
    return torch.from_numpy(ours), torch.from_numpy(theirs)


def _optional(package: str, metric: str) -> ModuleType:
    try:
        return import_module(package)
    except ImportError as error:
        raise _missing(package, metric) from error


def _missing(package: str, metric: str) -> UserError:
    return UserError(
        f"{metric} needs the package {package}, which is not installed; pip install {package} "
        "brings it."
    )


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
        raise _missing("onnxruntime", "DNSMOS") from error
    package = find_spec("speechmos")
    if package is None or package.origin is None:
        raise _missing("speechmos", "DNSMOS")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(Path(package.origin).parent / "dnsmos_models" / "sig_bak_ovr.onnx"),
        options,
        providers=["CPUExecutionProvider"],
    )
