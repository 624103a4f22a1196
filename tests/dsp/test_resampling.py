"""Sample-rate conversion: no delay, level kept, and content above the model's band carried over."""

from __future__ import annotations

import numpy as np
import pytest

from audio_denoising.dsp.resampling import resample, resampled_length
from audio_denoising.dsp.upper_band import carry_over, top_band_gain


def tone(frequency: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)[None]


def noise(channels: int, length: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(length).standard_normal((channels, length))).astype("f4")


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_tone_keeps_its_place_and_level(rate: int) -> None:
    converted = resample(tone(1000, rate), rate, 16_000)
    ideal = tone(1000, 16_000)
    assert converted.shape[1] == resampled_length(tone(1000, rate).shape[1], rate, 16_000)
    middle = slice(1000, -1000)
    error = converted[:, : ideal.shape[1]][:, middle] - ideal[:, middle]
    assert 10 * np.log10(np.square(ideal[:, middle]).sum() / np.square(error).sum()) > 80


def test_the_band_above_the_model_follows_its_top() -> None:
    rate = 48_000
    signal = noise(1, rate)
    down = resample(signal, rate, 16_000)
    denoised = down.copy()
    denoised[:, 8000:] *= 0.01  # the second half turned down by 40 dB
    back = carry_over(signal, rate, down, denoised)
    frequencies = np.fft.rfftfreq(rate // 4, 1 / rate)

    def level_above(part: np.ndarray) -> float:
        power = np.square(np.abs(np.fft.rfft(part * np.hanning(part.size))))
        return float(10 * np.log10(power[frequencies > 9000].sum()))

    first, last = slice(0, rate // 4), slice(3 * rate // 4, rate)
    assert level_above(back[0, first]) == pytest.approx(level_above(signal[0, first]), abs=0.2)
    assert level_above(back[0, last]) == pytest.approx(level_above(signal[0, last]) - 40, abs=0.5)


def test_gain_is_one_without_evidence_and_never_above() -> None:
    silent = np.zeros((1, 5000), np.float32)
    assert np.array_equal(top_band_gain(silent, silent, 8000), np.ones((1, 32), np.float32))
    loud = noise(1, 5000)
    assert top_band_gain(loud, 3 * loud, 8000).max() == 1.0
    assert top_band_gain(loud, silent, 8000).max() < 1e-3
