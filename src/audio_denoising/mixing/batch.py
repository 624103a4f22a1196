"""Makes batches of noisy mixtures and their clean targets on the device that holds the sounds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.mixing.augmentation import augmented, changes, made_knocks
from audio_denoising.mixing.bank import SILENCE, Array, Crops, SoundBank, even, to_device
from audio_denoising.mixing.choices import Choices, draw
from audio_denoising.mixing.recipe import Recipe
from audio_denoising.mixing.rooms import LENGTH

_LEVEL_FRAME = SAMPLE_RATE // 10  # as in `dsp.level`
_GATE = 0.1  # likewise
_FULL_SCALE = 0.999

# Samples that are made at once: what fits into a processor's cache, what fits beside a training.
_BLOCK, _LARGE_BLOCK = 1 << 18, 1 << 24

_SLOPES = 9  # coloured noises, from white (equal power everywhere) to brown (-6 dB an octave)
_MADE_SECONDS = 30


class Mixer:
    """Batches of mixtures from two banks on one device.

    A batch is a function of the seed, the step, its size and the recipe: nothing else has to be
    remembered to go on with a run. Everything random is drawn in main memory, so the device is
    never waited for, and every device makes the same batch (but for rounding).

    Args:
        speech, noise: on ``device``, or in main memory where they are too large for it.
        rooms: ``(R, K)`` measured responses as `load_rooms` reads them, or None.
        device: where batches are made, by default where the speech is.
        in_turn: visit every recording of speech once before any is heard again, in place of
            drawing them by their chances.
    """

    def __init__(
        self,
        speech: SoundBank,
        noise: SoundBank,
        recipe: Recipe,
        seed: int,
        rooms: Tensor | None = None,
        device: torch.device | None = None,
        in_turn: bool = False,
    ) -> None:
        device = device or speech.samples.device
        self.speech, self.noise, self.recipe, self.seed = speech, noise, recipe, seed
        self.device, self.in_turn = device, in_turn
        noises = recipe.babble, recipe.coloured, recipe.second
        self._plain = not any((*noises, recipe.biquad, recipe.low_pass, recipe.room))
        self.rooms = (torch.empty(0, LENGTH) if rooms is None else rooms).to(device)
        made = _made_noise()
        self.made = replace(made, samples=made.samples.to(device))
        self._block = _BLOCK if device.type == "cpu" else _LARGE_BLOCK

    def choices(self, step: int, count: int, samples: int) -> Choices:
        """What is drawn for a batch."""
        random = np.random.default_rng((self.seed, step))
        banks = (self.speech, self.noise, self.made)
        spoken = self._turn(step, count) if self.in_turn else None
        return draw(self.recipe, random, banks, count, samples, len(self.rooms), spoken)

    def _turn(self, step: int, count: int) -> Array:
        """Whose turn it is: lap after lap through all recordings of speech, each in a new order."""
        recordings = len(self.speech.starts)
        places = range(step * count, (step + 1) * count)
        laps = [divmod(place, recordings) for place in places]
        return np.array([_order(self.seed, lap, recordings)[place] for lap, place in laps])

    @torch.inference_mode()
    def batch(
        self, step: int, count: int, samples: int, rows: slice | None = None
    ) -> tuple[Tensor, Tensor]:
        """``count`` mixtures of one step: ``(noisy, clean)``, float32 ``(N, samples)`` within 1.

        Each step from 0 has its own; ``rows`` is the share of them to make, by default all.
        """
        drawn = self.choices(step, count, samples).take(rows or slice(None))
        many = max(1, self._block // samples)
        parts = [
            self._render(drawn.take(slice(first, first + many)), samples)
            for first in range(0, len(drawn.kind), many)
        ]
        noisy, clean = (torch.cat(part) for part in zip(*parts, strict=True))
        return noisy, clean

    def _render(self, drawn: Choices, samples: int) -> tuple[Tensor, Tensor]:
        """Makes the mixtures that are drawn, ``(N, samples)`` each."""
        if self._plain:
            speech = self.read(self.speech, drawn.speech, samples)
            noise = even(self.read(self.noise, drawn.noise, samples))
        else:
            speech, noise = augmented(self, drawn, samples)
        return self._mix(speech, noise, drawn)

    def read(self, bank: SoundBank, crops: Crops, samples: int) -> Tensor:
        """Crops of a bank ``(N, samples)``, on the device that mixes."""
        return bank.read(crops, samples).to(self.device, non_blocking=True)

    def _mix(self, speech: Tensor, noise: Tensor, drawn: Choices) -> tuple[Tensor, Tensor]:
        """Sets ratio and level: ``(noisy, clean)``, each ``(N, L)``."""
        table = np.stack((drawn.snr, drawn.level, drawn.gain, drawn.clip, *drawn.heard.T))
        numbers = to_device(table.astype(np.float32), self.device)
        snr, level, loud, clip, spoken, noised = numbers
        if self.recipe.active_levels:
            speech_power, noise_power = active_power(speech), active_power(noise)
        else:
            speech_power, noise_power = (x.square().mean(dim=1) for x in (speech, noise))
        has_speech = (spoken > 0) & (speech_power > SILENCE)
        has_noise = (noised > 0) & (noise_power > SILENCE)
        wanted = (speech_power / (noise_power * 10 ** (snr / 10)).clamp_min(1e-20)).sqrt()
        gain = torch.where(has_noise, torch.where(has_speech, wanted, 1.0), 0.0)
        clean = speech * has_speech[:, None]
        noisy = clean + noise * gain[:, None]
        if self.recipe.level is not None:
            loud = 10 ** (level / 20) * active_power(noisy).clamp_min(1e-12).rsqrt()
        if drawn.knocks[:, 0].any():
            rows, knocks = made_knocks(drawn, self.made, noisy.shape[1])
            loudness = active_power(noisy[rows]).sqrt()[:, None]
            noisy.index_add_(0, rows, knocks * loudness)
        if drawn.changes[:, 0].any():
            gains = changes(drawn, noisy.shape[1], self.device)
            noisy, clean = noisy * gains, clean * gains
        peak = torch.maximum(noisy.abs().amax(dim=1), clean.abs().amax(dim=1))
        loud = torch.minimum(loud, _FULL_SCALE / peak.clamp_min(1e-6))[:, None]
        noisy, clean = noisy * loud, clean * loud
        limit = (clip * noisy.abs().amax(dim=1))[:, None]
        return torch.minimum(torch.maximum(noisy, -limit), limit), clean


def active_power(sound: Tensor) -> Tensor:
    """Mean square ``(N,)`` of what is active in ``(N, L)``, gated as `dsp.level.ActiveLevel`."""
    frame = min(_LEVEL_FRAME, sound.shape[1])
    frames = sound[:, : sound.shape[1] // frame * frame].reshape(len(sound), -1, frame)
    powers = (frames.square().mean(dim=2) - frames.mean(dim=2).square()).clamp_min(0)
    heard = powers > 1e-12
    mean = (powers * heard).sum(dim=1) / heard.sum(dim=1).clamp_min(1)
    active = heard & (powers >= _GATE * mean[:, None])
    return (powers * active).sum(dim=1) / active.sum(dim=1).clamp_min(1)


@lru_cache(maxsize=4)
def _order(seed: int, lap: int, count: int) -> Array:
    return np.random.default_rng((seed, lap, count)).permutation(count)


@cache
def _made_noise() -> SoundBank:
    """Noise whose power falls with the frequency to the power of 0 to 2, a recording a slope."""
    random = np.random.default_rng(0)
    length = _MADE_SECONDS * SAMPLE_RATE
    white = np.fft.rfft(random.standard_normal((_SLOPES, length)))
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), 20.0)  # Hz
    slopes = np.linspace(0, 2, _SLOPES)[:, None]
    sounds = np.fft.irfft(white * frequency ** (-slopes / 2), n=length)
    return SoundBank.of(list(0.9 * sounds / np.abs(sounds).max(axis=1, keepdims=True)))
