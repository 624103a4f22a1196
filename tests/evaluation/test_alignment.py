"""A reference a little off is brought into line; one that cannot be the reference is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising.errors import UserError
from audio_denoising.evaluation.alignment import align, check_pair

RATE = 16_000
SPEECH = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)


@given(start=st.integers(0, 700), cut=st.integers(1, 99), late=st.booleans())
def test_the_shift_is_found_and_undone(start, cut, late):
    other = SPEECH[start : SPEECH.size - cut]
    pair = (SPEECH, other) if late else (other, SPEECH)
    first, second = align(*pair, RATE)
    np.testing.assert_array_equal(first, second)
    assert first.size == other.size


def test_noise_does_not_hide_the_shift():
    noisy = SPEECH + np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    signal, reference = align(noisy[300:], SPEECH, RATE)
    np.testing.assert_array_equal(reference, SPEECH[300:])
    np.testing.assert_array_equal(signal, noisy[300:])


def test_equally_long_recordings_stay_as_they_are():
    late = np.roll(SPEECH, 100)
    first, second = align(late, SPEECH, RATE)
    assert first is late and second is SPEECH


def test_references_of_another_rate_or_length_are_refused_with_both_values():
    check_pair("noisy.wav", 16_000, RATE, "clean.wav", 16_800, RATE)
    with pytest.raises(UserError, match=r"clean.wav has 8000 Hz and noisy.wav 16000 Hz"):
        check_pair("noisy.wav", 16_000, RATE, "clean.wav", 8_000, 8_000)
    with pytest.raises(UserError, match=r"clean.wav lasts 1.051 s and noisy.wav 1.000 s"):
        check_pair("noisy.wav", 16_000, RATE, "clean.wav", 16_816, RATE)
