"""Impulse responses of rooms, measured ones and made ones, all with the direct sound at sample 0.

So reverberant speech is in step with dry speech, and a target that keeps the reverberation asks
the network for no delay.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audio_denoising.corpora.corpus import Recording, read_segment
from audio_denoising.dsp.constants import SAMPLE_RATE

LENGTH = 8000  # samples (0.5 s) that a response has at most

_LONGEST = 1.0  # seconds of reverberation time (T60)
_GAP = 40  # samples (2.5 ms) between the direct sound and the first reflection of a made room


def load_rooms(recordings: Sequence[Recording]) -> Tensor:
    """Reads measured responses, float32 ``(R, LENGTH)``; rooms that ring too long are left out.

    They begin with their loudest sample, which is 1, and are faded out at the end.
    """
    kept = []
    for recording in recordings:
        response = read_segment(recording, 0, recording.samples)
        response = response[int(np.abs(response).argmax()) :]
        if response.size and response[0] and reverberation_time(response) < _LONGEST:
            cut = np.zeros(LENGTH, np.float32)
            cut[: len(response)] = response[:LENGTH] / response[0]
            cut[LENGTH // 2 :] *= np.linspace(1, 0, LENGTH - LENGTH // 2, dtype=np.float32)
            kept.append(cut)
    return torch.from_numpy(np.stack(kept) if kept else np.empty((0, LENGTH), np.float32))


def reverberation_time(response: npt.NDArray[np.float32]) -> float:
    """T60 in seconds, from the time the energy takes from -5 to -25 dB (ISO 3382, T20)."""
    left = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    decay = 10 * np.log10(left / left[0] + 1e-12)
    return float(3 * (np.argmax(decay < -25) - np.argmax(decay < -5))) / SAMPLE_RATE


def made_rooms(noise: Tensor, t60: Tensor, direct: Tensor) -> Tensor:
    """Responses ``(N, K)`` of direct sound, 1 at sample 0, and white noise that decays.

    By reverberation times ``(N,)`` in seconds, and by ``direct`` ``(N,)``, the energy of the direct
    sound over that of the reverberation in dB.
    """
    time = torch.arange(noise.shape[1], device=noise.device) / SAMPLE_RATE
    tail = noise * 10 ** (-3 * time / t60.float()[:, None])
    tail[:, :_GAP] = 0
    energy = tail.square().sum(dim=1).clamp_min(1e-12)
    tail *= (10 ** (-direct.float() / 10) / energy).sqrt()[:, None]
    tail[:, 0] = 1
    return tail
