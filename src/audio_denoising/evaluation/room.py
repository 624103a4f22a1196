"""Speech as it sounds in a room, made by rule: for the second frozen list.

A direct sound and, from 2.5 ms on, noise that fades by 60 dB in the time asked for, of half the
direct sound's energy. Like `unseen_noise` it uses nothing but numpy's raw stream of random bits, so
everyone makes the same room.
"""

from __future__ import annotations

import numpy as np

from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.evaluation.unseen_noise import uniform
from audio_denoising.samples import Samples

_FIRST = SAMPLE_RATE // 400  # samples between the direct sound and the first reflection
_TAIL_DB = -3.0  # energy of everything after the direct sound, relative to it


def in_room(speech: Samples, seconds: float, seed: int) -> Samples:
    """``speech (L,)``, 16 kHz, with the tail of a room, as loud as before.

    Args:
        speech: dry speech; what is said before it leaves no tail.
        seconds: reverberation time T60.
        seed: which of the rooms with this time.
    """
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = (uniform(time.size, seed) - 0.5) * 10 ** (-3 * time / seconds)
    tail[:_FIRST] = 0
    tail *= np.sqrt(10 ** (_TAIL_DB / 10) / np.square(tail).sum())
    tail[0] = 1
    size = speech.size + tail.size
    wet = np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(tail, size), size)[: speech.size]
    wet *= np.sqrt(np.square(speech, dtype=np.float64).mean() / np.square(wet).mean())
    return wet.astype(np.float32)
