"""The bank: what it holds, who is drawn how often, what a crop of it is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from audio_denoising.corpora.corpus import Recording
from audio_denoising.mixing.bank import FRAME, Crops, SoundBank, fair_chances


def crops(recording=(0,), offset=0.0, speed=1.0, pause=0.0) -> Crops:
    shape = np.shape(recording)
    parts = (np.broadcast_to(np.asarray(part, float), shape) for part in (offset, speed, pause))
    return Crops(np.asarray(recording), *parts)


def tone(seconds: float, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(16000 * seconds)) / 16000)


def recording(group: str, seconds: float, source: int = 0) -> Recording:
    return Recording(Path(group), group, round(seconds * 16000), 16000, source=source)


def test_a_crop_at_its_own_speed_is_the_recording_itself():
    sounds = [np.random.default_rng(n).integers(-9000, 9000, 2000).astype(np.int16) for n in (0, 1)]
    bank = SoundBank.of(sounds)
    heard = bank.read(crops((0, 1), offset=500), 1000) * 32768
    assert torch.equal(heard, torch.from_numpy(np.stack(sounds)[:, 500:1500]).float())


@pytest.mark.parametrize("length", [1, 3, 320, 1000])
def test_a_recording_shorter_than_the_crop_goes_round(length):
    sound = np.random.default_rng(length).integers(-9000, 9000, length).astype(np.int16)
    bank = SoundBank.of([sound[::-1], sound, sound[::-1]])
    (heard,) = bank.read(crops((1,), offset=-5), 3000)
    period = int(bank.lengths[1])
    (once,) = bank.read(crops((1,)), period)
    again = np.resize(np.roll(once.numpy(), 5), 3000)
    np.testing.assert_array_equal(np.roll(heard, 0), again)


def test_a_pause_follows_each_round():
    bank = SoundBank.of([np.full(1080, 0.5)])
    (heard,) = bank.read(crops(pause=500), 3000)
    expected = np.resize(np.repeat([0.5, 0.0], [1000, 500]), 3000)
    np.testing.assert_allclose(heard, expected, atol=1e-4)


def test_the_seam_of_a_loop_does_not_click():
    sound = tone(0.2, 441.3)
    (heard,) = SoundBank.of([sound]).read(crops(), 16000)
    assert heard.diff().abs().max() <= 1.05 * np.abs(np.diff(sound)).max()


@pytest.mark.parametrize("speed", [0.7, 0.93, 1.1, 1.4])
def test_speed_changes_the_pitch_and_adds_nothing(speed):
    bank = SoundBank.of([tone(5.0, 1000.0)])
    (heard,) = bank.read(crops(offset=2000.25, speed=speed), 16000)
    time = (2000.25 + speed * np.arange(16000)) / 16000 + 0
    expected = 0.5 * np.sin(2 * np.pi * 1000.0 * time)
    assert np.square(heard.numpy() - expected).mean() < 1e-5 * np.square(expected).mean()


def test_places_far_into_a_long_bank_are_exact():
    sounds = [np.zeros(320 * 60000, np.int16), (tone(3.0) * 32767).astype(np.int16)]
    bank = SoundBank.of(sounds)
    at_once = bank.read(crops((1,), offset=30000.5, speed=0.9), 8000)
    alone = SoundBank.of(sounds[1:]).read(crops((0,), offset=30000.5, speed=0.9), 8000)
    assert torch.equal(at_once, alone)


def test_the_active_share_counts_speech_and_neither_silence_nor_pauses():
    sound = np.concatenate((tone(1.0), np.zeros(16000), tone(1.0)))
    bank = SoundBank.of([sound])
    share = bank.active_share(crops((0,) * 4, offset=np.array([0, 16000, 8000, 32000.0])), 16000)
    np.testing.assert_allclose(share, [1, 0, 0.5, 1], atol=2 * FRAME / 16000)
    twice = bank.active_share(crops(pause=16000, speed=2.0), 64000)
    np.testing.assert_allclose(twice, [0.5], atol=0.02)


def test_no_voice_and_no_folder_dominates():
    rs = [recording("a", 300), recording("a", 100), recording("b", 60), recording("c", 100, 1)]
    chances = fair_chances(rs, None, longest=60)
    assert chances.sum() == pytest.approx(1)
    assert chances[0] + chances[1] == pytest.approx(chances[2])  # both voices count 60 s
    assert chances[0] == pytest.approx(3 * chances[1])
    assert chances[:3].sum() == pytest.approx(np.sqrt(2) * chances[3])
    weighted = fair_chances(rs, [1, 3], longest=60)
    assert weighted[3] == pytest.approx(0.75)
