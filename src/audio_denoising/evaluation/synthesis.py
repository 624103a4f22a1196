"""Sounds made by rule for the frozen lists: noise that no corpus here holds, and rooms.

The noise, for the unseen-noise list: babble of held-out voices, noise with the spectrum of speech,
mains hum, the buzz of a mobile phone beside a microphone, and modem tones. Nearest to training come
its crowds and cafés, and the coloured noise of `denoise train --augment varied`.

Nothing is recorded, so nothing has to be downloaded; given the same voices the same sounds come
out. `numpy.random.PCG64` promises its raw stream for good, its distributions it does not: hence
the raw stream only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.samples import Samples

SECONDS = 12
KINDS = ("talkers", "speech-shaped", "mains-hum", "phone-buzz", "modem")
"""Every kind comes in two variants, named like ``modem-1`` and ``modem-2``."""

_LENGTH = SECONDS * SAMPLE_RATE
_LEVEL = 0.05  # RMS of every clip; mixing scales it anyhow

Signal = NDArray[np.float64]
Voices = Mapping[str, Sequence[NDArray[np.float32]]]


def write_clips(folder: Path, halves: Sequence[Voices]) -> None:
    """Writes ``KIND-1.wav`` and ``KIND-2.wav`` of every kind, 12 s of 16 kHz mono each.

    Of two groups of speakers (utterances at 16 kHz by speaker) the babble of variant 1 is made of
    the first alone, so that nobody talks over himself in a mixture with a speaker of the second;
    likewise variant 2.
    """
    everybody = [utterance for voices in halves for each in voices.values() for utterance in each]
    for variant, voices in enumerate(halves, 1):
        clips = {
            "talkers": _talkers(voices),
            "speech-shaped": _speech_shaped(everybody, variant),
            "mains-hum": _mains_hum(variant),
            "phone-buzz": _phone_buzz(variant),
            "modem": _modem(variant),
        }
        for kind, clip in clips.items():
            level = _LEVEL / np.sqrt(np.mean(clip**2))
            path = folder / f"{kind}-{variant}.wav"
            soundfile.write(path, np.clip(level * clip, -1, 1), SAMPLE_RATE, "PCM_16")


def uniform(count: int, seed: int) -> Signal:
    """``count`` independent numbers in [0, 1)."""
    raw = np.random.PCG64(seed).random_raw(count)
    return np.asarray(raw >> np.uint64(11), np.float64) * 2.0**-53


def _talkers(voices: Voices) -> Signal:
    """All voices at once, each as loud as the others, saying one utterance after the other."""
    babble = np.zeros(_LENGTH)
    for utterances in voices.values():
        talk = np.resize(np.concatenate([np.asarray(u, np.float64) for u in utterances]), _LENGTH)
        babble += talk / np.sqrt(np.mean(talk**2))
    return babble


def _speech_shaped(utterances: Sequence[NDArray[np.float32]], seed: int) -> Signal:
    """White noise given the long-term spectrum of all the voices: no words, no pauses."""
    size = 1024
    power = np.zeros(size // 2 + 1)
    for utterance in utterances:
        frames = np.lib.stride_tricks.sliding_window_view(utterance, size)[:: size // 2]
        power += (np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2).sum(axis=0)
    white = np.fft.rfft(uniform(_LENGTH, seed) - 0.5)
    bins = np.linspace(0, size // 2, white.size)
    return np.fft.irfft(white * np.sqrt(np.interp(bins, np.arange(power.size), power)), _LENGTH)


def _mains_hum(variant: int) -> Signal:
    """50 Hz or 60 Hz with forty harmonics, swelling slowly, over a little hiss."""
    time = np.arange(_LENGTH) / SAMPLE_RATE
    base = (50.0, 60.0)[variant - 1]
    phases = 2 * np.pi * uniform(40, 100 + variant)
    hum = sum(np.sin(2 * np.pi * k * base * time + phases[k - 1]) / k for k in range(1, 41))
    swell = 1 + 0.3 * np.sin(2 * np.pi * 0.4 * variant * time)
    return np.asarray(hum * swell + 0.05 * (uniform(_LENGTH, 200 + variant) - 0.5))


def _phone_buzz(variant: int) -> Signal:
    """The edges of a GSM phone's bursts, 217 a second, in groups that come and go."""
    number = np.arange(_LENGTH)
    burst = (number * 650 / 3 / SAMPLE_RATE) % 1.0 < 0.125  # one of eight time slots
    quarter = number // (SAMPLE_RATE // 4)  # of a second
    talking = uniform(4 * SECONDS, 300 + variant)[quarter] < 0.7
    edges = np.diff(burst.astype(np.float64), prepend=0.0)
    return edges * (talking + 0.02) + 0.02 * (uniform(_LENGTH, 400 + variant) - 0.5)


def _modem(variant: int) -> Signal:
    """Frequency-shift keying: 1200 or 300 random bits a second, a tone for ones, one for zeros."""
    rate, one, zero = ((1200, 1200.0, 2200.0), (300, 1270.0, 1070.0))[variant - 1]
    bits = uniform(SECONDS * rate, 500 + variant) < 0.5
    heard = bits[np.arange(_LENGTH) * rate // SAMPLE_RATE]
    frequency = np.where(heard, one, zero)
    return np.sin(2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE)


_FIRST = SAMPLE_RATE // 400  # samples between the direct sound and the first reflection
_TAIL_DB = -3.0  # energy of everything after the direct sound, relative to it


def in_room(speech: Samples, seconds: float, seed: int) -> Samples:
    """``speech (L,)``, 16 kHz, with the tail of a room, as loud as before.

    A direct sound and, from 2.5 ms on, noise that fades by 60 dB in ``seconds`` (T60), of half the
    direct sound's energy; ``seed`` tells which of the rooms with this time.
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
