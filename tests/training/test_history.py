"""The curves of a run: one point an epoch, on an axis of whole epochs."""

from __future__ import annotations

import pytest

from audio_denoising.training.history import curve


@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_the_axis_shows_whole_epochs(epochs: int) -> None:
    rows = [{"epoch": n + 1, "train_loss": 0.1, "validation_loss": 0.2} for n in range(epochs)]
    figure = curve(rows, "loss", "loss", "v4-small")
    (axes,) = figure.axes
    left, right = axes.get_xlim()
    shown = [tick for tick in axes.get_xticks() if left <= tick <= right]
    assert shown and set(shown) <= set(range(1, epochs + 1))
    assert (left, right) == (0.5, epochs + 0.5)
