"""Rooms fade as real ones do, begin with the direct sound, and come from the seed alone."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from audio_denoising.errors import UserError
from audio_denoising.mixing import reverberation
from audio_denoising.mixing.augment import PRESETS
from audio_denoising.mixing.reverberation import EARLY, LEAD, TAPS, RoomBank, room_bank

RATE = 16_000


def build(seed: int, rooms: int = 6) -> RoomBank:
    pytest.importorskip("pyroomacoustics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reverberation, "ROOMS", rooms)
        return room_bank.__wrapped__(seed)


@pytest.fixture(scope="module")
def bank() -> RoomBank:
    return build(0)


def fading_time(taps: np.ndarray) -> float:
    """Seconds for 60 dB, from the slope between -5 and -20 dB (Schroeder, 1965)."""
    left = np.cumsum(taps[::-1].astype(np.float64) ** 2)[::-1]
    level = 10 * np.log10(left / left[0] + 1e-12)
    first, last = (int(np.argmax(level < limit)) for limit in (-5, -20))
    return 4 * (last - first) / RATE


def test_rooms_fade_within_the_times_promised(bank):
    times = [fading_time(taps) for taps in bank.whole.numpy()]
    assert all(0.08 < time < 0.8 for time in times)
    assert max(times) > 1.5 * min(times)  # no two alike


def test_the_direct_sound_comes_first_and_stands_at_its_place(bank):
    assert bank.whole.shape == bank.early.shape == (6, TAPS)
    assert bank.whole.dtype == torch.float32
    for taps in bank.whole.abs():
        first = int((taps > 0.5 * taps[LEAD - 1 : LEAD + 2].max()).nonzero()[0])
        assert abs(first - LEAD) <= 1
        assert taps[: LEAD // 2].max() < 0.05 * taps.max()


def test_the_early_part_is_the_first_50_ms(bank):
    end = LEAD + EARLY
    assert EARLY == 0.05 * RATE
    assert torch.equal(bank.early[:, :end], bank.whole[:, :end])
    assert not bank.early[:, end:].any()
    assert bank.whole[:, end:].any(dim=1).all()


def test_rooms_depend_on_the_seed_alone(bank):
    torch.testing.assert_close(build(0).whole, bank.whole)
    assert not torch.allclose(build(1, 1).whole, bank.whole[:1])


def test_a_missing_library_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    room_bank.cache_clear()
    with pytest.raises(UserError, match="pip install pyroomacoustics.*original"):
        PRESETS["varied"].rooms(0, torch.device("cpu"))
