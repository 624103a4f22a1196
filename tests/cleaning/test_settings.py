"""The strength knob: the two formulas as documented, and its ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_denoising.cleaning.settings import Settings
from audio_denoising.errors import UserError

RNG = np.random.default_rng(0)
NOISY, CLEAN = RNG.standard_normal((2, 2, 1000)).astype(np.float32)


@given(percent=st.just(0.0) | st.floats(1, 100), limit=st.none() | st.floats(0, 100))
def test_the_documented_formulas(percent: float, limit: float | None) -> None:
    s = percent / 100
    f = 0.0 if limit is None else 10 ** (-limit / 20)
    limited = f * NOISY + (1 - f) * CLEAN
    expected = s * limited + (1 - s) * NOISY
    assert np.allclose(Settings(percent, limit).mix(NOISY, CLEAN), expected, atol=1e-5)


def test_the_ends_are_exact() -> None:
    assert np.array_equal(Settings().mix(NOISY, CLEAN), CLEAN)
    assert np.array_equal(Settings(strength=0).mix(NOISY, CLEAN), NOISY)
    assert np.array_equal(Settings(limit=0).mix(NOISY, CLEAN), NOISY)


@pytest.mark.parametrize(
    ("strength", "limit", "told"),
    [
        *((strength, None, "from 0 to 100") for strength in (-1, 101, float("nan"))),
        *((100, limit, "0 or above") for limit in (-1, float("nan"))),
    ],
)
def test_what_is_out_of_range(strength: float, limit: float | None, told: str) -> None:
    with pytest.raises(UserError, match=told):
        Settings(strength, limit)
