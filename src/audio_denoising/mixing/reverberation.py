"""Rooms for speech to sound in: impulse responses of random shoeboxes, made once for a run.

The image-source method (Allen and Berkley, 1979) as pyroomacoustics computes it. The reverberation
times asked for are 0.15 to 0.6 s; in the smallest rooms the longest come out shorter, because
reflections beyond the 30th are left out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.errors import UserError

ROOMS = 64
TAPS = 7_840  # 0.49 s
LEAD = 40  # taps before the direct sound: half of the interpolator that places it between samples
EARLY = SAMPLE_RATE // 20  # 50 ms after the direct sound, which support speech (ISO 3382-1: D50)

_SIZES = (3.0, 3.0, 2.4), (8.0, 6.0, 3.5)  # metres: smallest and largest room
_RT60 = 0.15, 0.6  # seconds until the sound has faded by 60 dB
_WALL = 0.5  # metres that talker and microphone keep from it
_DISTANCE = 0.3, 3.0  # metres between the two
_ORDER = 30  # reflections that are followed: beyond, time and memory grow without gain


class RoomBank(NamedTuple):
    """Impulse responses, float32 ``(ROOMS, TAPS)``: the whole of them, and their early part.

    The direct sound stands at tap ``LEAD`` in both.
    """

    whole: Tensor
    early: Tensor

    def to(self, device: torch.device) -> RoomBank:
        """The same on ``device``."""
        return RoomBank(self.whole.to(device), self.early.to(device))


@lru_cache(maxsize=1)
def room_bank(seed: int) -> RoomBank:
    """``ROOMS`` random rooms, a function of ``seed`` alone; takes a second or two.

    Raises:
        UserError: pyroomacoustics is not installed.
    """
    try:
        import pyroomacoustics
    except ImportError as error:
        raise UserError(
            "Reverberation needs pyroomacoustics: pip install pyroomacoustics, or "
            "train without it (--augment original)"
        ) from error
    rng = np.random.default_rng(seed)
    whole = np.zeros((ROOMS, TAPS), np.float32)
    for taps in whole:
        size = rng.uniform(*_SIZES)
        microphone = rng.uniform(_WALL, size - _WALL)
        talker = microphone
        while not _DISTANCE[0] <= np.linalg.norm(talker - microphone) <= _DISTANCE[1]:
            talker = rng.uniform(_WALL, size - _WALL)
        # Sabine's formula; even the largest room here can be damped down to the shortest time.
        absorption, order = pyroomacoustics.inverse_sabine(rng.uniform(*_RT60), size)
        room = pyroomacoustics.ShoeBox(
            size,
            fs=SAMPLE_RATE,
            materials=pyroomacoustics.Material(absorption),
            max_order=min(order, _ORDER),
        )
        room.add_source(talker)
        room.add_microphone(microphone)
        room.compute_rir()
        # The library puts time 0 at tap 40, so this leaves the direct sound there.
        distance = float(np.linalg.norm(talker - microphone))
        response = room.rir[0][0][round(distance / room.c * SAMPLE_RATE) :][:TAPS]
        taps[: len(response)] = response
    early = whole.copy()
    early[:, LEAD + EARLY :] = 0
    return RoomBank(torch.from_numpy(whole), torch.from_numpy(early))
