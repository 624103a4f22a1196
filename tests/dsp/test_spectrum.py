"""The spectrogram image: levels, shapes, and the way back to the waveform."""

from __future__ import annotations

import math

import pytest
import torch

from audio_denoising.dsp import spectrum as sp


def snr_db(reference: torch.Tensor, estimate: torch.Tensor) -> float:
    error = (reference - estimate).square().sum()
    return float(10 * torch.log10(reference.square().sum() / error.clamp(min=1e-30)))


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_segment_is_256_by_256() -> None:
    assert sp.SEGMENT == 40_800
    assert sp.image(sp.stft(noise(2, 1, sp.SEGMENT))).shape == (2, 1, 256, 256)


@pytest.mark.parametrize("frequency", [1000.0, 440.0, 3141.59, 7000.0])
def test_full_scale_sine_peaks_at_zero_db(frequency: float) -> None:
    # The worst case between two bins loses 1.4 dB to the window, so tones sit on a bin centre.
    on_bin = round(frequency * sp.FFT_SIZE / sp.SAMPLE_RATE) * sp.SAMPLE_RATE / sp.FFT_SIZE
    time = torch.arange(sp.SEGMENT, dtype=torch.float64) / sp.SAMPLE_RATE
    # Power is read before the clamp at 0 dB, by halving the amplitude.
    half = sp.level_db(sp.stft(0.5 * torch.sin(2 * math.pi * on_bin * time)))
    assert float(half[:, 4:-4].max()) == pytest.approx(20 * math.log10(0.5), abs=0.1)
    full = sp.level_db(sp.stft(torch.sin(2 * math.pi * on_bin * time)))
    assert float(full.max()) == pytest.approx(0.0, abs=0.1)


def test_levels_are_clamped() -> None:
    loud = sp.image(sp.stft(100 * noise(sp.SEGMENT)))
    quiet = sp.image(sp.stft(torch.zeros(sp.SEGMENT)))
    assert float(loud.max()) == 1.0
    assert float(quiet.abs().max()) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_of_an_unmodified_image(dtype: torch.dtype) -> None:
    waveform = noise(2, sp.SEGMENT, dtype=dtype)
    spectrum = sp.stft(waveform)
    back = sp.istft(sp.apply_image(spectrum, sp.image(spectrum)), sp.SEGMENT)
    assert back.dtype == dtype
    assert snr_db(waveform, back) > 60


def test_gain_never_amplifies_and_reaches_the_nyquist_bin() -> None:
    noisy = torch.rand(3, 256, 7, generator=torch.Generator().manual_seed(1))
    gain = sp.gain(torch.rand(3, 256, 7, generator=torch.Generator().manual_seed(2)), noisy)
    assert gain.shape == (3, 257, 7)
    assert float(gain.max()) <= 1.0
    assert torch.equal(gain[:, 256], gain[:, 255])
    assert torch.equal(sp.gain(noisy + 0.5, noisy), torch.ones(3, 257, 7))


def test_one_unit_of_the_image_is_eighty_db() -> None:
    gain = sp.gain(torch.zeros(256, 1), torch.ones(256, 1))
    assert torch.allclose(gain, torch.full((257, 1), 1e-4))
