"""The active level: of the speech alone, whatever the silence, the offset or the blocks are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising.dsp.level import TARGET_DB, ActiveLevel


def noise(*shape: int, rms: float = 0.1) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal(shape)
    return (rms * x / x.std(axis=-1, keepdims=True)).astype(np.float32)


def level(x: np.ndarray, rate: int = 16_000, block: int = 0) -> ActiveLevel:
    heard = ActiveLevel(rate)
    for start in range(0, x.shape[1], block or max(1, x.shape[1])):
        heard.add(x[:, start : start + (block or x.shape[1])])
    return heard


def test_of_steady_noise_it_is_the_rms() -> None:
    assert level(noise(1, 32_000)).decibels() == pytest.approx([-20.0], abs=0.05)


def test_silence_faint_noise_and_a_dc_offset_do_not_count() -> None:
    speech = noise(1, 32_000)
    surroundings = np.concatenate((np.zeros((1, 160_000)), noise(1, 160_000, rms=1e-3)), axis=1)
    x = np.concatenate((surroundings, speech), axis=1).astype(np.float32) + np.float32(0.3)
    assert level(x).decibels() == pytest.approx([-20.0], abs=0.1)


@given(block=st.integers(1, 20_000), length=st.integers(1, 20_000))
def test_blocks_of_any_size_give_the_same_bits(block: int, length: int) -> None:
    x = noise(2, length) if length > 1 else np.full((2, 1), 0.5, np.float32)
    heard = level(x, block=block)
    assert heard.samples == length
    assert np.array_equal(heard.gains(), level(x).gains())


def test_every_channel_is_brought_to_the_target() -> None:
    x = np.concatenate((noise(1, 16_000, rms=0.5), noise(1, 16_000, rms=1e-4)))
    gains = level(x).gains()
    assert gains.dtype == np.float32
    assert level(x * gains[:, None]).decibels() == pytest.approx([TARGET_DB] * 2, abs=0.01)


@pytest.mark.parametrize("length", [0, 1, 100, 16_000])
def test_silence_is_left_as_it_is(length: int) -> None:
    x = np.zeros((2, length), np.float32)
    assert np.array_equal(level(x).gains(), np.ones(2) if length else np.empty(0))
