"""The active level: of the speech alone, whatever the silence, the offset or the blocks are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.dsp.level import TARGET_DB, ActiveLevel
from audio_denoising.dsp.measures import si_sdr

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


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


def decibels(gains: np.ndarray) -> np.ndarray:
    return np.asarray(20 * np.log10(gains[0]))


def test_an_even_recording_has_one_gain() -> None:
    x = noise(2, 160_000) * np.array([[1], [0.03]], np.float32)
    x[:, 40_000:60_000] *= 0.2  # 14 dB: a pause in a noisy room
    heard = level(x)
    curve = heard.curve(0.0, 1000, 100)
    assert np.array_equal(curve, np.repeat(heard.gains()[:, None], 1000, axis=1))


def test_a_faint_talker_is_raised_beside_a_loud_one() -> None:
    x = noise(1, 640_000)
    x[:, 320_000:] *= 10 ** (-45 / 20)
    curve = decibels(level(x).curve(0.0, 400, 10))
    assert curve[:180] == pytest.approx(0, abs=0.3)
    assert curve[235:] == pytest.approx(25, abs=1.0)
    assert np.abs(np.diff(curve)).max() < 2  # in 0.1 s


def test_digital_silence_is_raised_by_no_more_than_is_of_use() -> None:
    x = np.concatenate((noise(1, 160_000), np.zeros((1, 160_000), np.float32)), axis=1)
    curve = decibels(level(x).curve(0.0, 200, 10))
    assert curve.max() == pytest.approx(40, abs=0.5)
    assert np.array_equal(level(x * 0).curve(0.0, 5, 10), np.ones((1, 5)))


@pytest.mark.parametrize("version", ["v4", "v5"])
def test_a_network_cleans_a_quiet_talker_beside_a_knock(version: str) -> None:
    """On a real recording; v4 hears it through `Level`, v5 has met knocks in training."""
    clean = soundfile.read(EXAMPLES / "clean_street.flac", dtype="float32")[0]
    noisy = soundfile.read(EXAMPLES / "noisy_street.wav", dtype="float32")[0] * 10 ** (-28 / 20)
    knocked = noisy.copy()
    knock = slice(8_000, 11_200)
    knocked[knock] += np.random.default_rng(0).uniform(-1, 1, 3_200)
    outside = np.r_[0 : knock.start - 800, knock.stop + 800 : len(clean)]
    denoise = Denoiser(version)
    alone, beside = (
        si_sdr(denoise(x.astype(np.float32), 16_000)[outside], clean[outside])
        for x in (noisy, knocked)
    )
    assert beside > alone - 1
    assert alone > si_sdr(noisy[outside], clean[outside]) + 3
