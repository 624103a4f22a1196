"""The benchmark of the page: no times for a browser that answers something else than Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from audio_denoising.errors import UserError
from benchmarks import page
from benchmarks.page import measure


def test_browser_and_python_are_measured_on_the_same_second(browser: Any) -> None:
    found = measure(browser, seconds=1, rounds=2)
    assert 0 < found["largest_difference"] < 1e-3
    for side in ("browser", "python"):
        assert len(found[side]["seconds"]) == 2 and min(found[side]["core_seconds"]) > 0


def test_a_browser_that_differs_is_not_timed(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "in_browser", lambda *_: lambda noisy: (np.zeros_like(noisy), 1, 1))
    with pytest.raises(UserError, match="differs from Python's"):
        measure(browser, seconds=1, rounds=1)
