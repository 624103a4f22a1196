"""The generated noise is what it is called, is the same every time, and plays without gaps."""

import numpy as np
import pytest
import soundfile

from audio_denoising.evaluation.synthesis import KINDS, SECONDS, write_clips

RATE = 16_000


def speaker(seed: int) -> list[np.ndarray]:
    """Two utterances of noise in a band of its own, so that a babble shows who is in it."""
    rng = np.random.default_rng(seed)
    parts = []
    for length in (2 * RATE, 3 * RATE):
        spectrum = np.fft.rfft(rng.standard_normal(length))
        bins = np.fft.rfftfreq(length, 1 / RATE)
        spectrum[(bins < 1000 * seed) | (bins >= 1000 * (seed + 1))] = 0
        parts.append((0.1 * np.fft.irfft(spectrum, length)).astype(np.float32))
    return parts


HALVES = [{"a": speaker(1), "b": speaker(2)}, {"c": speaker(4), "d": speaker(5)}]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    write_clips(folder, HALVES)
    return {path.stem: soundfile.read(path)[0] for path in folder.iterdir()}


def power(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.fft.rfftfreq(clip.size, 1 / RATE), np.abs(np.fft.rfft(clip)) ** 2


def test_every_kind_comes_in_two_variants_of_one_level(clips):
    assert clips.keys() == {f"{kind}-{variant}" for kind in KINDS for variant in (1, 2)}
    for clip in clips.values():
        assert clip.size == SECONDS * RATE
        assert clip.std() == pytest.approx(0.05, rel=0.1)
        seconds = clip.reshape(SECONDS, RATE)
        assert seconds.std(axis=1).min() > 0.005
    for kind in KINDS:
        # The two buzzes share their rhythm and differ in their pauses.
        assert abs(np.corrcoef(clips[f"{kind}-1"], clips[f"{kind}-2"])[0, 1]) < 0.7


@pytest.mark.parametrize(("variant", "low", "high"), [(1, 1000, 3000), (2, 4000, 6000)])
def test_a_babble_holds_the_voices_of_its_half_equally_loud(clips, variant, low, high):
    bins, found = power(clips[f"talkers-{variant}"])
    inside = (bins >= low) & (bins < high)
    assert found[inside].sum() > 0.99 * found.sum()
    lower = found[(bins >= low) & (bins < low + 1000)].sum()
    assert lower == pytest.approx(found[inside].sum() / 2, rel=0.1)


def test_speech_shaped_noise_has_the_spectrum_of_all_voices(clips):
    bins, found = power(clips["speech-shaped-1"])
    bands = [found[(bins >= k * 1000) & (bins < (k + 1) * 1000)].sum() for k in range(8)]
    assert sorted(np.argsort(bands)[-4:]) == [1, 2, 4, 5]
    assert bands[3] < 0.1 * bands[2]


def test_the_same_voices_give_the_same_files(tmp_path, clips):
    write_clips(tmp_path, HALVES)
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(soundfile.read(path)[0], clips[path.stem])
