"""Filters and rooms against what they are said to do, with scipy and simple sounds as witnesses."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

from audio_denoising.corpora.corpus import index_noise
from audio_denoising.mixing.filters import band_pass, biquad
from audio_denoising.mixing.rooms import LENGTH, load_rooms, made_rooms, reverberation_time


def test_biquads_filter_as_the_difference_equation_does():
    random = np.random.default_rng(0)
    coefficients = random.uniform(-3 / 8, 3 / 8, (20, 4))
    sound = random.standard_normal(4096)
    sound[:200] = 0  # what goes round the circle has died away before it
    sound[-200:] = 0
    spectrum = torch.fft.rfft(torch.from_numpy(sound)) * biquad(torch.tensor(coefficients), 4096)
    for (b1, b2, a1, a2), ours in zip(coefficients, torch.fft.irfft(spectrum), strict=True):
        theirs = scipy.signal.lfilter([1, b1, b2], [1, a1, a2], sound)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("corner", [-3 / 8, 3 / 8])
def test_the_steepest_biquads_are_stable_and_none_at_all_changes_nothing(corner):
    corners = torch.tensor(np.array(np.meshgrid(*[[-corner, corner]] * 4)).reshape(4, -1).T)
    response = torch.fft.irfft(biquad(corners, 4096))
    assert response[:, 100:].abs().max() < 1e-6
    assert torch.equal(biquad(torch.zeros(1, 4), 64), torch.ones(1, 33, dtype=torch.complex64))


def test_a_band_pass_keeps_what_is_inside_and_removes_what_is_outside():
    edges = torch.tensor([[300.0, 4000.0], [-torch.inf, torch.inf]])
    gain = band_pass(edges[:, 0], edges[:, 1], 16000)
    assert torch.all(gain[0, :250] < 1e-4)
    assert gain[0, 300] == pytest.approx(0.5, abs=1e-4)
    assert torch.all(gain[0, 351:3749] > 0.9999)
    assert gain[0, 4000] == pytest.approx(0.5, abs=1e-4)
    assert torch.all(gain[0, 4251:] < 1e-4)
    assert torch.all(gain[1] == 1)


def test_made_rooms_ring_as_long_and_as_loudly_as_asked():
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((4, LENGTH)))
    t60 = torch.tensor([0.1, 0.2, 0.3, 0.5])
    direct = torch.tensor([-3.0, 0.0, 6.0, 12.0])
    for room, time, level in zip(made_rooms(noise, t60, direct), t60, direct, strict=True):
        assert room[0] == 1 == room.abs().max()
        ratio = -10 * torch.log10(room[1:].square().sum())
        assert ratio == pytest.approx(float(level), abs=0.01)
        assert reverberation_time(room[40:].numpy()) == pytest.approx(float(time), rel=0.15)


def test_measured_rooms_begin_with_the_direct_sound_and_halls_are_left_out(tmp_path: Path):
    random = np.random.default_rng(0)
    for name, t60 in {"bedroom": 0.4, "church": 4.0}.items():
        time = np.arange(64000) / 16000
        response = 0.1 * random.standard_normal(64000) * 10 ** (-3 * time / t60)
        response = np.concatenate((1e-4 * random.standard_normal(300), [-0.9], response))
        soundfile.write(tmp_path / f"{name}.wav", response, 16000)
    (room,) = load_rooms(index_noise(tmp_path))
    assert room.shape == (LENGTH,) and room[0] == 1 == room.abs().max() and room[-1] == 0
    assert load_rooms([]).shape == (0, LENGTH)
