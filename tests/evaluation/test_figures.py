"""The picture of a sound puts it where it is."""

import numpy as np
import pytest

from audio_denoising.evaluation.figures import spectrogram_figure

RATE = 16_000


def tone(frequency: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_full_scale_tone_is_drawn_at_its_frequency_and_level(rate):
    figure = spectrogram_figure({"tone": tone(2000, rate=rate)}, rate)
    image = figure.axes[0].images[0]
    levels = np.asarray(image.get_array())
    middle = levels[:, levels.shape[1] // 2]
    left, right, bottom, top = image.get_extent()
    height = bottom + (np.argmax(middle) + 0.5) * (top - bottom) / middle.size
    assert height == pytest.approx(2000, abs=1)
    assert middle.max() == pytest.approx(0.0, abs=0.1)
    assert (left + right) / 2 == pytest.approx(0.5, abs=0.01)


def test_the_shortest_signal_can_be_drawn_and_two_channels_cannot():
    assert spectrogram_figure({"one sample": np.ones(1)}, RATE).axes
    with pytest.raises(ValueError, match="one channel"):
        spectrogram_figure({"stereo": np.ones((2, 100))}, RATE)
