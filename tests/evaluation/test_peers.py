"""Others' denoisers keep length, time and level, and take noise away where they should."""

import sys
from functools import cache

import numpy as np
import pytest
import soundfile

from audio_denoising.errors import UserError
from audio_denoising.evaluation import peers
from audio_denoising.evaluation.peers import PEERS

RATE = 16_000


@cache
def lacking(name):
    """Why the peer cannot run here, or nothing."""
    try:
        PEERS[name].clean(np.zeros(RATE // 8, np.float32), RATE)
    except UserError as error:
        return str(error)
    return ""


@pytest.fixture(params=PEERS)
def clean(request):
    """How each peer cleans, or a skip that names what is missing."""
    if reason := lacking(request.param):
        pytest.skip(reason)
    return PEERS[request.param].clean


def test_speech_comes_back_at_its_place_and_as_loud(clean):
    speech, rate = soundfile.read(
        "tests/data/LibriSpeech/test-clean/4441/76250/4441-76250-0000.flac", frames=2 * RATE + 1
    )
    assert rate == RATE
    noise = 0.05 * speech.std() * np.random.default_rng(0).standard_normal(speech.size)
    cleaned = clean((speech + noise).astype(np.float32), RATE)
    assert cleaned.dtype == np.float32 and cleaned.shape == speech.shape
    product = np.fft.rfft(cleaned, 2 * speech.size) * np.fft.rfft(speech, 2 * speech.size).conj()
    assert np.argmax(np.fft.irfft(product)) == 0  # the lag, in samples
    # Spectral gating takes away a good half of the speech as well.
    assert 0.3 < np.dot(cleaned, speech) / np.dot(speech, speech) < 1.05


def test_steady_noise_gets_quieter_the_same_way_again(clean):
    noise = (0.05 * np.random.default_rng(0).standard_normal(2 * RATE)).astype(np.float32)
    cleaned = clean(noise, RATE)
    assert cleaned[RATE:].std() < 0.7 * noise[RATE:].std()
    np.testing.assert_array_equal(clean(noise, RATE), cleaned)  # the first has left nothing behind


@pytest.mark.filterwarnings("error")
def test_digital_silence_stays_silent_at_any_rate(clean):
    silence = np.zeros(22_051, np.float32)
    np.testing.assert_allclose(clean(silence, 44_100), silence, atol=1e-4)


@pytest.mark.parametrize("name", PEERS)
def test_a_missing_package_is_named_with_the_way_to_get_it(name, monkeypatch):
    for loaded in (peers._session, peers._rnnoise, peers._libdf):
        loaded.cache_clear()
    package = PEERS[name].package
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    with pytest.raises(
        UserError, match=rf"{package}, which is not installed; pip install .*{package}"
    ):
        PEERS[name].clean(np.ones(RATE, np.float32), RATE)
