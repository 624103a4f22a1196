"""A stretch is read exactly and alone; a mixture has the ratio asked for and never clips."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_denoising.corpora.corpus import index_speech
from audio_denoising.mixing.mixing import DamagedRecording, mix, mix_batch, power, read_segment

RATE = 16_000


def snr(clean: np.ndarray, noisy: np.ndarray) -> float:
    return 10 * math.log10(power(clean) / power(noisy.astype(np.float64) - clean))


@settings(max_examples=40)
@given(
    st.floats(0, 15),
    st.floats(0.002, 1.5),
    st.floats(0.002, 1.5),
    st.integers(0, 2**32 - 1),
)
def test_the_ratio_is_exact_and_nothing_clips(snr_db, speech_level, noise_level, seed):
    rng = np.random.default_rng(seed)
    speech = speech_level * rng.uniform(-1, 1, 4_000)
    noise = noise_level * rng.standard_normal(4_000)
    clean, noisy = mix(speech, noise, snr_db)
    assert clean.dtype == noisy.dtype == np.float32
    assert snr(clean, noisy) == pytest.approx(snr_db, abs=0.01)
    assert max(np.abs(clean).max(), np.abs(noisy).max()) <= 1
    scale = clean[0] / speech[0]  # one number for the whole stretch, 1 where there is room
    np.testing.assert_allclose(clean, scale * speech, atol=1e-6)
    assert scale <= 1 + 1e-6
    if speech_level < 0.1 and snr_db > 5:
        assert scale == pytest.approx(1, abs=1e-6)


def test_real_speech_and_noise(tiny_speech, tiny_noise):
    speech, noise = (read_segment(rs[0], 0, 24_000) for rs in (tiny_speech, tiny_noise))
    length = min(len(speech), len(noise))
    for snr_db in (0, 5, 15):
        clean, noisy = mix(speech[:length], noise[:length], snr_db)
        assert snr(clean, noisy) == pytest.approx(snr_db, abs=0.01)


def test_silence():
    sound, silence = np.full(8, 0.5), np.zeros(8)
    for speech, noise in ((sound, silence), (silence, sound), (silence, silence)):
        clean, noisy = mix(speech, noise, 5)
        np.testing.assert_array_equal(clean, speech)
        np.testing.assert_array_equal(noisy, speech + noise)


LEVELS = st.just(0.0) | st.floats(0.002, 2)


@settings(max_examples=20)
@given(
    st.lists(st.tuples(LEVELS, LEVELS, st.floats(-10, 25)), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_a_batch_is_mixed_as_single_mixtures_are(levels, seed):
    rng = np.random.default_rng(seed)
    speech, noise = (
        np.float32([row[part] * rng.uniform(-1, 1, 3_000) for row in levels]) for part in (0, 1)
    )
    ratios = [row[2] for row in levels]
    batch = mix_batch(*map(torch.from_numpy, (speech, noise)), torch.tensor(ratios).double())
    for row, snr_db in enumerate(ratios):
        for found, expected in zip(batch, mix(speech[row], noise[row], snr_db), strict=True):
            assert found.dtype == torch.float32
            assert found.abs().max() <= 1
            np.testing.assert_allclose(found[row].numpy(), expected, atol=2e-6)


def test_a_batch_may_have_another_clean_answer():
    rng = np.random.default_rng(0)
    speech, noise, target = (
        torch.from_numpy(rng.uniform(-0.9, 0.9, (2, 500)).astype(np.float32)) for _ in range(3)
    )
    ratios = torch.zeros(2).double()
    clean, noisy = mix_batch(speech, noise, ratios, target=target)
    dry, same = mix_batch(speech, noise, ratios)
    assert torch.equal(noisy, same)  # the answer changes nothing that is heard
    scale = dry[:, :1] / speech[:, :1]
    assert (scale < 1).all()  # what exceeds full scale is turned down, the answer with it
    torch.testing.assert_close(clean, target * scale)
    loud, _ = mix_batch(speech, noise, ratios, target=4 * target)
    assert loud.abs().max() == 1


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="differ in length"):
        mix(np.ones(3), np.ones(4), 0)


FORMATS = [
    ("wav", 16_000, 1), ("wav", 44_100, 2), ("wav", 8_000, 1), ("wav", 11_025, 3),
    ("flac", 16_000, 2), ("flac", 48_000, 1), ("ogg", 16_000, 1), ("ogg", 44_100, 2),
    ("opus", 16_000, 1), ("opus", 48_000, 2), ("mp3", 16_000, 1), ("mp3", 44_100, 2),
]  # fmt: skip


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return np.allclose(found[: len(expected)], expected[: len(found)], atol=2e-4)


@pytest.mark.parametrize(("suffix", "rate", "channels"), FORMATS)
def test_a_stretch_equals_the_same_stretch_of_the_whole_file(
    write, tmp_path, suffix, rate, channels
):
    subtype = "OPUS" if suffix == "opus" else None
    path = write(f"x.{suffix}", seconds=4.3, rate=rate, channels=channels, subtype=subtype)
    whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
    expected = soxr.resample(whole.mean(axis=1), rate, RATE)
    (recording,) = index_speech(tmp_path)
    assert abs(recording.samples - 4.3 * RATE) < 0.05 * RATE
    for start, length in ((0, 8_000), (1, 777), (20_001, 40_800), (60_000, 40_800)):
        found = read_segment(recording, start, length)
        assert found.dtype == np.float32
        assert len(found) == min(length, recording.samples - start)
        # libsndfile may seek late in Vorbis by up to one window of 2048.
        lags = range(0, 2_049, 64) if suffix == "ogg" else [0]
        assert any(same(found, expected[start + lag : start + length]) for lag in lags)


def test_only_the_stretch_is_read(write, tmp_path, monkeypatch):
    write("long.wav", seconds=60, rate=44_100)
    (recording,) = index_speech(tmp_path)
    frames_read = []
    read = soundfile.SoundFile.read

    def watch(file, frames=-1, *args, **kwargs):
        frames_read.append(frames)
        return read(file, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", watch)
    assert len(read_segment(recording, 30 * RATE, 40_800)) == 40_800
    assert len(frames_read) == 1
    assert 2.55 * 44_100 < frames_read[0] < 2.7 * 44_100


def test_damaged_files_are_told_apart(write, tmp_path):
    path = write("x.flac", seconds=3)
    (recording,) = index_speech(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DamagedRecording, match=r"x\.flac"):
        read_segment(recording, 20_000, 16_000)
    path.unlink()
    with pytest.raises(DamagedRecording, match=r"x\.flac"):
        read_segment(recording, 0, 16_000)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_damage(write, tmp_path, value):
    write("x.wav", samples=np.array([0.1] * 99 + [value]), subtype="FLOAT")
    (recording,) = index_speech(tmp_path)
    with pytest.raises(DamagedRecording, match="not numbers"):
        read_segment(recording, 0, 100)
