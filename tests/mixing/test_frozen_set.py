"""A mixture of a frozen set has the ratio asked for and never clips."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_denoising.mixing.frozen_set import detailed_mix, power


def snr(clean: np.ndarray, noisy: np.ndarray) -> float:
    return 10 * math.log10(power(clean) / power(noisy.astype(np.float64) - clean))


@settings(max_examples=40)
@given(
    st.floats(0, 15),
    st.floats(0.002, 1.5),
    st.floats(0.002, 1.5),
    st.integers(0, 2**32 - 1),
)
def test_the_ratio_is_exact_and_nothing_clips(snr_db, speech_level, noise_level, seed):
    rng = np.random.default_rng(seed)
    speech = speech_level * rng.uniform(-1, 1, 4_000)
    noise = noise_level * rng.standard_normal(4_000)
    clean, noisy, *_ = detailed_mix(speech, noise, snr_db)
    assert clean.dtype == noisy.dtype == np.float32
    assert snr(clean, noisy) == pytest.approx(snr_db, abs=0.01)
    assert max(np.abs(clean).max(), np.abs(noisy).max()) <= 1
    scale = clean[0] / speech[0]  # one number for the whole stretch, 1 where there is room
    np.testing.assert_allclose(clean, scale * speech, atol=1e-6)
    assert scale <= 1 + 1e-6
    if speech_level < 0.1 and snr_db > 5:
        assert scale == pytest.approx(1, abs=1e-6)


def test_silence():
    sound, silence = np.full(8, 0.5), np.zeros(8)
    for speech, noise in ((sound, silence), (silence, sound), (silence, silence)):
        clean, noisy, *_ = detailed_mix(speech, noise, 5)
        np.testing.assert_array_equal(clean, speech)
        np.testing.assert_array_equal(noisy, speech + noise)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="differ in length"):
        detailed_mix(np.ones(3), np.ones(4), 0)
