"""The benchmark of rumble: what it leaves out, and its table."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.rumble import ratios, rumble_table, share_below

RATE = 16_000
TIME = np.arange(RATE) / RATE


def test_what_is_below_hearing_counts_in_the_first_ratio_alone() -> None:
    """A voice of 200 Hz over a rumble of 20 Hz with half its energy; cleaned of the rumble, and of
    a tenth of the voice's amplitude, which no ratio sees."""
    voice = np.sin(2 * np.pi * 200 * TIME)
    recorded = voice + np.sqrt(0.5) * np.sin(2 * np.pi * 20 * TIME)
    error = 0.01 * np.sin(2 * np.pi * 1000 * TIME)
    whole, above = ratios(0.9 * voice + error, recorded, RATE)
    assert whole == pytest.approx(10 * np.log10(2), abs=0.01)
    assert above == pytest.approx(10 * np.log10(0.81 / 1e-4), abs=0.01)
    assert share_below(recorded, RATE) == pytest.approx(1 / 3, abs=1e-6)


def test_the_table_has_means_of_both_and_the_lowest_of_clean_speech() -> None:
    results = {
        "parts": ["held-out", "clean speech", "clean speech"],
        "shares": [0.1, 0.3, 0.004],
        "si_sdr": {"v5": [[9, 10], [5, 20], [30, 31]]},
    }
    assert rumble_table(results).splitlines()[2:] == [
        "| held-out | 10 % | 9.0, 10.0 |",
        "| clean speech | 30 % | 17.5, 25.5 |",
        "| clean speech, lowest |  | 5.0, 20.0 |",
    ]
