"""Reads a stretch of a recording and mixes speech with noise at a chosen signal-to-noise ratio.

Mixing exists twice: `detailed_mix` for one mixture in double precision, as frozen test sets keep
it, and `mix_batch` for a whole batch on the device that trains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import torch
from torch import Tensor

from audio_denoising.corpora.corpus import Recording
from audio_denoising.dsp.spectrum import SAMPLE_RATE

Waveform = npt.NDArray[np.float32]

SILENCE = 1e-6  # mean power (-60 dB re full scale) below which a stretch carries nothing to learn

_NOTHING = 1e-30  # mean power (-300 dB) that float32 cannot be trusted to divide by
# The resampler needs a little signal on both sides of the stretch, or its ends would ring.
_MARGIN = 320  # samples at 16 kHz
# Compressed formats may promise a little more than they hold; a longer gap is a damaged file.
TOLERANCE_SECONDS = 0.25


class DamagedRecording(Exception):
    """The file's header was fine, but its sound cannot be decoded or is not finite."""


def read_segment(recording: Recording, start: int, length: int) -> Waveform:
    """Reads one stretch as 16 kHz mono, decoding only that stretch.

    Args:
        recording: the file; other rates are resampled, channels are averaged.
        start: first sample wanted, counted at 16 kHz, from 0 to ``recording.samples - 1``.
        length: number of samples wanted, counted at 16 kHz.

    Returns:
        float32 ``(min(length, recording.samples - start),)``: shorter where the recording ends.

    The place is exact, except that libsndfile may seek a few milliseconds late in Ogg Vorbis
    files (its issue 885): always equally late, and up to one Vorbis window.

    Raises:
        DamagedRecording: the file cannot be decoded there.
    """
    length = min(length, recording.samples - start)
    rate = recording.rate
    # Both rates have a sample at every ``up``-th sample of ours, the ``down``-th of the file: from
    # such a place the stretch comes out exactly as if the whole file had been resampled.
    up, down = (number // math.gcd(rate, SAMPLE_RATE) for number in (SAMPLE_RATE, rate))
    margin = _MARGIN if rate != SAMPLE_RATE else 0
    block = max(0, start - margin) // up
    lead = start - block * up
    first = block * down
    wanted = math.ceil((lead + length + margin) * rate / SAMPLE_RATE)
    wanted = min(wanted, recording.frames - first)
    try:
        with soundfile.SoundFile(str(recording.path)) as file:
            file.seek(first)
            frames = file.read(wanted, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise DamagedRecording(f"{recording.path}: {error}") from error
    if len(frames) < wanted - TOLERANCE_SECONDS * rate:
        raise DamagedRecording(f"{recording.path}: it ends early, after {first + len(frames)}")
    mono = to_mono(frames)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    if not np.isfinite(mono).all():
        raise DamagedRecording(f"{recording.path}: it holds samples that are not numbers")
    mono = mono[lead : lead + length]
    return mono if len(mono) == length else np.pad(mono, (0, length - len(mono)))


def to_mono(frames: Waveform) -> Waveform:
    """The mean of the channels of ``(L, C)``; what has one channel is not copied."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    # As frames.mean(axis=1), which takes ten times as long: numpy is slow along a short axis.
    mono: Waveform = sum(frames.T) / np.float32(frames.shape[1])
    return mono


def power(waveform: npt.ArrayLike) -> float:
    """Mean power of the samples; a full-scale square wave has power 1."""
    samples = np.asarray(waveform, dtype=np.float64)
    return float(np.mean(samples * samples)) if samples.size else 0.0


@dataclass(frozen=True)
class DetailedMix:
    """A mixture and how it came about: ``noisy = scale · (speech + noise_gain · noise)``.

    ``clean`` and ``noisy`` are float32 ``(L,)`` within [-1, 1].
    """

    clean: Waveform
    noisy: Waveform
    noise_gain: float
    scale: float


def mix(speech: npt.ArrayLike, noise: npt.ArrayLike, snr_db: float) -> tuple[Waveform, Waveform]:
    """``(clean, noisy)`` of `detailed_mix`, both float32 ``(L,)`` within [-1, 1]."""
    mixed = detailed_mix(speech, noise, snr_db)
    return mixed.clean, mixed.noisy


def detailed_mix(speech: npt.ArrayLike, noise: npt.ArrayLike, snr_db: float) -> DetailedMix:
    """Adds noise to speech so that their mean powers over the whole stretch differ by ``snr_db``.

    Where the sum would exceed full scale, speech and mixture are scaled down together, which
    leaves the ratio as it is. Digitally silent noise leaves the speech clean; beside digitally
    silent speech no ratio exists, and the noise is added as it is.

    Args:
        speech: ``(L,)``.
        noise: ``(L,)``, scaled here.
        snr_db: 10·log10(speech power / noise power) of the result.
    """
    clean = np.asarray(speech, dtype=np.float64)
    added = np.asarray(noise, dtype=np.float64)
    if clean.shape != added.shape:
        raise ValueError(f"speech {clean.shape} and noise {added.shape} differ in length")
    speech_power, noise_power = power(clean), power(added)
    gain = 1.0
    if speech_power > 0 and noise_power > 0:
        gain = math.sqrt(speech_power / (noise_power * 10 ** (snr_db / 10)))
    noisy = clean + added * gain
    peak = max(np.abs(clean).max(initial=0.0), np.abs(noisy).max(initial=0.0))
    scale = 1.0 / peak if peak > 1 else 1.0
    return DetailedMix(
        (clean * scale).astype(np.float32), (noisy * scale).astype(np.float32), gain, scale
    )


class Stretches(NamedTuple):
    """Speech and noise that are still to be mixed, and how: what a worker hands over.

    ``speech`` and ``noise`` are float32 ``(L,)``, ``recipe`` float64 ``(K,)``, the choices made
    for this item (see `augment`). In a batch they are ``(N, L)``, ``(N, L)`` and ``(N, K)``.
    """

    speech: Tensor
    noise: Tensor
    recipe: Tensor

    def to(self, device: torch.device) -> Stretches:
        """The waveforms on ``device``; the recipe steers from main memory, so it stays there."""
        speech, noise = (part.to(device, non_blocking=True) for part in (self.speech, self.noise))
        return Stretches(speech, noise, self.recipe)


def mix_batch(
    speech: Tensor, noise: Tensor, snr_db: Tensor, *, target: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`detailed_mix` for a batch, in float32 on the device of the waveforms.

    Args:
        speech: ``(N, L)``, what is heard: with its reverberation, if it has any.
        noise: ``(N, L)``, scaled here.
        snr_db: ``(N,)``, 10·log10(speech power / noise power) of each result; on any device.
        target: ``(N, L)``, the clean answer where it is not ``speech`` itself, such as speech with
            early reflections only. It is scaled as the mixture is.

    Returns:
        ``(clean, noisy)``, float32 ``(N, L)`` within [-1, 1].
    """
    wanted = 10 ** (snr_db.to(speech) / 10)
    speech_power, noise_power = (part.square().mean(dim=-1) for part in (speech, noise))
    both = torch.minimum(speech_power, noise_power) > _NOTHING
    gain = torch.where(both, (speech_power / (noise_power * wanted)).sqrt(), 1.0)
    clean = speech if target is None else target
    noisy = speech + noise * gain[:, None]
    peak = torch.maximum(clean.abs().amax(dim=-1), noisy.abs().amax(dim=-1))
    room = peak.clamp(min=1)[:, None]
    return clean / room, noisy / room
