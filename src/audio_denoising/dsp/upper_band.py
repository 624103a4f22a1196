"""What the U-Nets cannot hear: the content of a recording above their band.

They work at 16 kHz. A recording at another rate is converted, denoised and converted back; what the
conversion loses (in a 48 kHz file everything above 8 kHz) is added again, turned down as far as the
model turned down the top of its own band.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from audio_denoising.dsp.resampling import resample
from audio_denoising.dsp.spectrum import FFT_SIZE, HOP, SAMPLE_RATE, stft
from audio_denoising.samples import Samples

_TOP_BAND_HZ = 1000.0
_SMOOTHING_FRAMES = 11  # 110 ms: slower than a glottal pulse, faster than a syllable


def carry_over(signal: Samples, rate: int, noisy: Samples, denoised: Samples) -> Samples:
    """Bring a signal denoised at 16 kHz back to its own rate, with the band the model never saw.

    With ``r = signal - up(noisy)``, what the way down and up again loses, the result is
    ``up(denoised) + g * r``. The gain ``g(t) <= 1`` comes from `top_band_gain`. A model that
    changes nothing gives the signal back.

    Args:
        signal: the recording ``(C, L)`` at ``rate`` Hz.
        noisy: the same at 16 kHz, ``(C, M)``, as `resample` made it; ``denoised`` is like it.
    """
    if rate == SAMPLE_RATE:
        return denoised
    length = signal.shape[1]
    lost = signal - resample(noisy, SAMPLE_RATE, rate, length)
    gain = top_band_gain(noisy, denoised, edge=min(SAMPLE_RATE, rate) / 2)
    frame_times = np.arange(gain.shape[1]) * (HOP / SAMPLE_RATE)
    times = np.arange(length) / rate
    carried = resample(denoised, SAMPLE_RATE, rate, length)
    for channel in range(signal.shape[0]):
        carried[channel] += lost[channel] * np.interp(times, frame_times, gain[channel])
    return carried


def top_band_gain(noisy: Samples, denoised: Samples, edge: float) -> Samples:
    """How far the model turned down the top 1 kHz of its band ``(C, T)``, every 10 ms.

    The square root of denoised over noisy energy, of ``(C, M)`` at 16 kHz, between ``edge`` - 1 kHz
    and ``edge`` (8000 Hz at most), both smoothed over 110 ms. Where there is no energy there is no
    evidence, and the gain is 1.
    """
    bin_hz = SAMPLE_RATE / FFT_SIZE
    low, high = round(max(0.0, edge - _TOP_BAND_HZ) / bin_hz), round(edge / bin_hz)
    taper = np.hanning(_SMOOTHING_FRAMES + 2)[1:-1]

    def energy(signal: Samples) -> npt.NDArray[np.float64]:
        band = stft(torch.from_numpy(signal))[:, low:high]
        power = (band.real.square() + band.imag.square()).sum(dim=1).double().numpy()
        # "same" would return the taper's length for signals shorter than it.
        half = _SMOOTHING_FRAMES // 2
        return np.stack([np.convolve(p, taper)[half : half + len(p)] for p in power])

    nothing = 1e-12  # far below the quantisation noise of 24 bits
    ratio = (energy(denoised) + nothing) / (energy(noisy) + nothing)
    return np.sqrt(np.minimum(ratio, 1.0)).astype(np.float32)
