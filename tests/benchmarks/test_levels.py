"""The benchmark of levels: what it feeds, what it measures, and its table."""

from __future__ import annotations

import numpy as np
import pytest

from audio_denoising.samples import Samples
from benchmarks.levels import level_table, measure


def test_a_cleaner_that_gates_what_is_faint_is_found_out() -> None:
    """One that leaves the voice alone where it is loud, and nothing of it where it is not."""
    voice = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    noisy = voice + 0.1 * np.random.default_rng(1).standard_normal(16_000).astype(np.float32)
    levels = []

    def gate(sound: Samples, rate: int) -> Samples:
        level = 20 * np.log10(np.sqrt(np.mean(sound[-16_000:] ** 2)))
        levels.append(level)
        return sound if level > -35 else np.random.default_rng(2).standard_normal(sound.shape)

    found = measure(gate, (voice, noisy, 16_000))
    assert levels == pytest.approx([-50, -40, -30, -20, -10, -40], abs=0.01)
    assert found[2:5] == pytest.approx([20, 20, 20], abs=0.3)
    assert max(*found[:2], found[5]) < -10


def test_the_table_has_means_and_the_widest_range() -> None:
    table = level_table({"si_sdr": {"v5": [[9, 9, 9, 9, 9, 8], [5, 6, 7, 6, 7, 4]]}})
    assert table.splitlines()[2] == "| v5 | 7.0 | 7.5 | 8.0 | 7.5 | 8.0 | 6.0 | 2.0 |"
