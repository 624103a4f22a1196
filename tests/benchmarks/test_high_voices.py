"""The benchmark of high voices: what it feeds, and its table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audio_denoising.dsp.measures import si_sdr
from audio_denoising.training.material import Material
from audio_denoising.training.options import RunPlace, TrainingOptions
from benchmarks.high_voices import high_voices_table, mixtures
from tests.training.runs import NOISE, SPEECH


def test_all_but_the_voices_is_the_same_at_every_speed(tmp_path: Path) -> None:
    material = Material(TrainingOptions("v5", seed=1), RunPlace([SPEECH], [NOISE], tmp_path, "cpu"))
    (slow, fast) = (list(mixtures(material, speed, 2)) for speed in (1.0, 1.5))
    for (noisy, clean), (noisy_fast, clean_fast) in zip(slow, fast, strict=True):
        noise, noise_fast = noisy - clean, noisy_fast - clean_fast
        scale = np.linalg.norm(noise_fast) / np.linalg.norm(noise)  # all is brought to one level
        assert noise_fast == pytest.approx(scale * noise, abs=1e-4)
        assert si_sdr(clean_fast, clean) < 0


def test_the_table_has_means_and_the_lowest() -> None:
    table = high_voices_table({"si_sdr": {"v5": [[9, 11], [8, 9], [5, 6], [-4, 4]]}})
    assert table.splitlines()[2] == "| v5 | 10.0 (9.0) | 8.5 (8.0) | 5.5 (5.0) | 0.0 (-4.0) |"
