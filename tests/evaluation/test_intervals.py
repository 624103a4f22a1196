"""The bootstrap interval is that of scipy, the same every time, and honest about few scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising.evaluation.intervals import RESAMPLES, bootstrap_mean


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_interval_is_that_of_scipy(seed):
    stats = pytest.importorskip("scipy.stats")
    scores = np.random.default_rng(seed).gamma(2.0, 3.0, 60)
    theirs = stats.bootstrap(
        (scores,), np.mean, n_resamples=20 * RESAMPLES, method="percentile", rng=seed
    ).confidence_interval
    ours = bootstrap_mean(scores)
    # Two thousand resamples place a bound within a tenth of the interval's half.
    slack = 0.1 * (theirs.high - theirs.low)
    assert ours.mean == pytest.approx(scores.mean())
    assert ours.low == pytest.approx(theirs.low, abs=slack)
    assert ours.high == pytest.approx(theirs.high, abs=slack)


def test_the_interval_narrows_with_the_root_of_the_number():
    scores = np.random.default_rng(0).standard_normal(1600)
    few, many = bootstrap_mean(scores[:100]), bootstrap_mean(scores)
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(4.0, rel=0.25)
    assert many.high - many.low == pytest.approx(2 * 1.96 / 40, rel=0.1)


@given(st.lists(st.floats(-60, 60), min_size=1, max_size=20))
def test_the_mean_lies_between_its_bounds(scores):
    found = bootstrap_mean(scores)
    assert min(scores) - 1e-9 <= found.low <= found.high <= max(scores) + 1e-9
    assert found.count == len(scores)
    assert found == bootstrap_mean(scores)


def test_no_scores_have_no_mean():
    assert bootstrap_mean([]) is None
