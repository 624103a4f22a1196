"""The simple denoisers keep length and time, and take noise away where they should."""

import sys

import numpy as np
import pytest
import soundfile

from audio_denoising.errors import UserError
from audio_denoising.evaluation.references import PEERS

RATE = 16_000


@pytest.fixture(scope="module")
def speech():
    samples, rate = soundfile.read(
        "tests/data/LibriSpeech/test-clean/4441/76250/4441-76250-0000.flac"
    )
    assert rate == RATE
    return samples[: 3 * RATE].astype(np.float32)


@pytest.mark.parametrize("name", PEERS)
def test_speech_comes_back_at_its_place(name, speech):
    package, cleaner = PEERS[name]
    pytest.importorskip(package)
    noise = 0.3 * speech.std() * np.random.default_rng(0).standard_normal(speech.size)
    cleaned = cleaner((speech + noise).astype(np.float32), RATE)
    assert cleaned.dtype == np.float32 and cleaned.shape == speech.shape
    product = np.fft.rfft(cleaned) * np.fft.rfft(speech).conj()
    lag = int(np.argmax(np.fft.irfft(product, speech.size)))
    assert min(lag, speech.size - lag) <= 2
    np.testing.assert_array_equal(cleaned, cleaner((speech + noise).astype(np.float32), RATE))


@pytest.mark.parametrize("name", PEERS)
def test_steady_noise_gets_quieter(name):
    package, cleaner = PEERS[name]
    pytest.importorskip(package)
    noise = (0.05 * np.random.default_rng(0).standard_normal(4 * RATE)).astype(np.float32)
    assert cleaner(noise, RATE)[RATE:].std() < 0.7 * noise[RATE:].std()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", PEERS)
def test_digital_silence_stays_silent(name):
    package, cleaner = PEERS[name]
    pytest.importorskip(package)
    silence = np.zeros(RATE, np.float32)
    np.testing.assert_allclose(cleaner(silence, RATE), silence, atol=1e-4)


@pytest.mark.parametrize("name", PEERS)
def test_a_missing_package_is_named_with_the_way_to_get_it(name, monkeypatch):
    package, cleaner = PEERS[name]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package}, which is not .*\[peers\]"):
        cleaner(np.ones(RATE, np.float32), RATE)
