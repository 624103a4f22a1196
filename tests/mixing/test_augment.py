"""What is drawn for a mixture, and what happens when it is decoded: speed and a second noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising.errors import UserError
from audio_denoising.mixing.augment import (
    ORIGINAL,
    PRESETS,
    TELEPHONE_HZ,
    Recipe,
    change_speed,
    join_noises,
    preset,
    read_length,
)
from audio_denoising.mixing.mixing import power
from audio_denoising.mixing.reverberation import ROOMS

RATE = 16_000
VARIED = PRESETS["varied"]


def sine(hertz: float, samples: int, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)).astype(np.float32)


def loudest_hertz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.argmax(spectrum)) * RATE / len(waveform)


def test_presets_are_found_by_name():
    assert preset("original") is ORIGINAL
    assert preset("varied") is VARIED
    sentence = "unknown augmentation 'wild': choose original, wide, varied"
    with pytest.raises(UserError, match=sentence):
        preset("wild")


def test_wide_mixtures_are_the_original_ones_at_more_ratios():
    wide = preset("wide")
    assert replace(wide, snr_db=ORIGINAL.snr_db) == ORIGINAL
    assert wide.snr_db[0] < ORIGINAL.snr_db[0] < ORIGINAL.snr_db[1] < wide.snr_db[1]


def test_the_original_draws_nothing_and_changes_nothing():
    rng = np.random.default_rng(0)
    assert ORIGINAL.draw(rng) == Recipe()
    assert rng.random() == np.random.default_rng(0).random()
    assert ORIGINAL.snr_db == (0.0, 15.0)
    assert ORIGINAL.rooms(0, torch.device("cpu")) is None


@given(st.integers(0, 2**63))
def test_a_recipe_is_a_function_of_its_random_numbers(seed):
    recipe, again, other = (VARIED.draw(np.random.default_rng(s)) for s in (seed, seed, seed + 1))
    assert recipe == again != other
    assert VARIED.speed[0] <= recipe.speed <= VARIED.speed[1]
    assert VARIED.noise_speed[0] <= recipe.noise_speed <= VARIED.noise_speed[1]
    assert VARIED.gain_db[0] <= recipe.gain_db <= VARIED.gain_db[1]
    assert -1 <= recipe.room < ROOMS
    assert max(map(abs, recipe.speech_filter + recipe.noise_filter)) <= 3 / 8
    assert 0 <= recipe.low_hz < recipe.high_hz <= RATE / 2
    if recipe.clipped_share:
        assert 0.001 <= recipe.clipped_share <= 0.03
    row = recipe.as_tensor()
    assert row.dtype == torch.float64
    assert recipe.noise_seed in row.tolist()  # exactly, though it may be a large number
    assert len(row) == len(Recipe().as_tensor())


def test_everything_happens_about_as_often_as_promised():
    recipes = [VARIED.draw(np.random.default_rng([3, i])) for i in range(2_000)]
    wanted = {
        VARIED.second_noise: [recipe.second_noise for recipe in recipes],
        VARIED.synthetic: [recipe.noise_seed > 0 for recipe in recipes],
        VARIED.colouring: [any(recipe.noise_filter) for recipe in recipes],
        VARIED.telephone: [recipe.low_hz > 0 for recipe in recipes],
        VARIED.low_pass * (1 - VARIED.telephone): [
            recipe.high_hz < RATE / 2 and not recipe.low_hz for recipe in recipes
        ],
        VARIED.reverberation: [recipe.room >= 0 for recipe in recipes],
        VARIED.clipping: [recipe.clipped_share > 0 for recipe in recipes],
    }
    for chance, happened in wanted.items():
        assert np.mean(happened) == pytest.approx(chance, abs=0.05)
        assert any(happened)
    assert {(r.low_hz, r.high_hz) for r in recipes if r.low_hz} == {TELEPHONE_HZ}
    both = [any(r.noise_filter) and any(r.speech_filter) for r in recipes]
    assert np.mean(both) == pytest.approx(VARIED.colouring**2, abs=0.05)  # each on its own


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.0371, 1.1, 1.25])
def test_speed_changes_pitch_and_tempo(speed):
    length = 16_000
    played = change_speed(sine(1_000, read_length(length, speed)), speed, length)
    assert played.dtype == np.float32
    assert len(played) == length
    assert loudest_hertz(played) == pytest.approx(1_000 * speed, abs=1.5)
    assert power(played[100:-100]) == pytest.approx(power(sine(1_000, length)), rel=0.01)
    assert abs(played[-100:]).max() > 0.2  # nothing is missing at the end


def test_two_noises_are_both_heard_at_the_level_asked_for():
    first, second = sine(500, 16_000, 0.3), sine(3_000, 16_000, 0.001)
    for second_db in (-5.0, 0.0, 5.0):
        joined = join_noises(first, second, second_db)
        assert joined.dtype == np.float32
        np.testing.assert_allclose(
            joined - first, second * (joined - first)[4] / second[4], atol=1e-6
        )
        assert 10 * np.log10(power(joined - first) / power(first)) == pytest.approx(
            second_db, abs=0.01
        )


def test_a_silent_noise_leaves_the_other_alone():
    noise, silence = sine(500, 100), np.zeros(100, np.float32)
    np.testing.assert_array_equal(join_noises(noise, silence, 3.0), noise)
    np.testing.assert_array_equal(join_noises(silence, noise, 3.0), noise)
    np.testing.assert_array_equal(join_noises(silence, silence, 3.0), silence)
