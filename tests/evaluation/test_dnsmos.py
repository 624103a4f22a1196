"""DNSMOS gives what the package's own code gives, on top of the same network."""

import sys
import types

import numpy as np
import pytest

from audio_denoising.errors import UserError
from audio_denoising.evaluation import dnsmos as module
from audio_denoising.evaluation.dnsmos import dnsmos

RATE = 16_000


def hiss(samples: int) -> np.ndarray:
    time = np.arange(samples) / RATE
    noise = np.random.default_rng(samples).standard_normal(samples)
    return (0.05 * noise * (1 + np.sin(2 * np.pi * 2 * time))).clip(-1, 1).astype(np.float32)


@pytest.fixture
def theirs(monkeypatch):
    """The package's own code; librosa serves another score of it, which is not asked for."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("speechmos")
    for name in ("librosa", "requests"):
        stand_in = types.ModuleType(name)
        stand_in.session = None
        monkeypatch.setitem(sys.modules, name, stand_in)
    monkeypatch.delitem(sys.modules, "speechmos.dnsmos", raising=False)
    from speechmos import dnsmos as package

    flat = np.zeros((900, 120), np.float32)
    monkeypatch.setattr(package.DNSMOS, "audio_melspec", lambda self, audio: flat)
    return package.run


@pytest.mark.parametrize("samples", [3_000, 5 * RATE, 144_160, 19 * RATE + 7])
def test_scores_are_those_of_the_package(theirs, samples):
    expected = theirs(hiss(samples), RATE)
    ours = dnsmos(hiss(samples), RATE)
    assert ours.sig == pytest.approx(expected["sig_mos"], abs=1e-4)
    assert ours.bak == pytest.approx(expected["bak_mos"], abs=1e-4)
    assert ours.ovrl == pytest.approx(expected["ovrl_mos"], abs=1e-4)


def test_what_it_cannot_judge_is_refused():
    with pytest.raises(ValueError, match="16000 Hz"):
        dnsmos(hiss(RATE), 48_000)
    with pytest.raises(ValueError, match="one channel"):
        dnsmos(np.zeros(0, np.float32), RATE)


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    module._session.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="onnxruntime, which is not .* pip install onnxruntime"):
        dnsmos(hiss(RATE), RATE)
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="speechmos"):
        dnsmos(hiss(RATE), RATE)
