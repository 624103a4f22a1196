"""The benchmark of voices: what it feeds, and its table."""

from __future__ import annotations

import numpy as np
import pytest

from audio_denoising.dsp.measures import si_sdr
from audio_denoising.training.material import Material
from audio_denoising.training.options import RunPlace, TrainingOptions
from benchmarks.voices import VOICES, kinds_table, mixtures
from tests.training.runs import NOISE, SPEECH


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Kind of voice -> noisy and clean of two mixtures, (2, 2, L)."""
    place = RunPlace([SPEECH], [NOISE], tmp_path_factory.mktemp("run"), "cpu")
    material = Material(TrainingOptions("v5", seed=1), place)
    return {name: np.array(list(mixtures(material, VOICES[name], 2))) for name in VOICES}


def test_all_but_the_voice_is_the_same_however_high_it_is(made: dict[str, np.ndarray]) -> None:
    for plain, high in zip(made["as they are"], made["1.5 times as high"], strict=True):
        noise, noise_high = plain[0] - plain[1], high[0] - high[1]
        scale = np.linalg.norm(noise_high) / np.linalg.norm(noise)  # all is brought to one level
        assert noise_high == pytest.approx(scale * noise, abs=1e-4)
        assert si_sdr(high[1], plain[1]) < 0


def test_a_telephone_takes_its_band_out_of_the_same_voice(made: dict[str, np.ndarray]) -> None:
    def inside(clean: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(clean)
        frequency = np.fft.rfftfreq(clean.size, 1 / 16_000)
        return np.fft.irfft(spectrum * ((frequency > 400) & (frequency < 3000)))

    for plain, phone in zip(made["as they are"], made["by telephone"], strict=True):
        assert si_sdr(phone[1], inside(phone[1])) > si_sdr(plain[1], inside(plain[1])) + 3
        assert si_sdr(inside(phone[1]), inside(plain[1])) > 20


def test_the_table_has_means_and_the_lowest() -> None:
    table = kinds_table({"si_sdr": {"v5": [[9, 11], [8, 9], [5, 6], [-4, 4], [1, 2]]}})
    row = "| v5 | 10.0 (9.0) | 8.5 (8.0) | 5.5 (5.0) | 0.0 (-4.0) | 1.5 (1.0) |"
    assert table.splitlines()[2] == row
