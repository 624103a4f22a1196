"""Makes batches of noisy mixtures and their clean targets on the device that holds the sounds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.mixing.bank import Array, Crops, SoundBank, to_device
from audio_denoising.mixing.choices import BABBLE, COLOURED, RECORDED, Choices, draw
from audio_denoising.mixing.filters import fast_size, filtered
from audio_denoising.mixing.recipe import Recipe
from audio_denoising.mixing.rooms import LENGTH

_LEVEL_FRAME = SAMPLE_RATE // 10  # as in `dsp.level`
_GATE = 0.1  # likewise
# Mean square, 60 dB below the peak of a recording: a rest of this kind is not made any louder.
_SILENCE = 1e-6
_FULL_SCALE = 0.999
_BEHIND = 256  # samples (16 ms) after which a low-pass, which has no delay, rings no more

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
        self._filtered = max(recipe.biquad, recipe.low_pass, recipe.room) > 0
        self.rooms = (torch.empty(0, LENGTH) if rooms is None else rooms).to(device)
        made = _made_noise()
        self._made = replace(made, samples=made.samples.to(device))
        self._block = _BLOCK if device.type == "cpu" else _LARGE_BLOCK

    def choices(self, step: int, count: int, samples: int) -> Choices:
        """What is drawn for a batch."""
        random = np.random.default_rng((self.seed, step))
        banks = (self.speech, self.noise, self._made)
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
        if not self._filtered:
            return self._mix(
                self._read(self.speech, drawn.speech, samples), self._noise(drawn, samples), drawn
            )
        # Sound from before the crop is read too, as far back as a room rings, and a little from
        # behind it. The transform goes round in a circle, so what a filter carries over one end
        # of it comes out at the other, outside the crop.
        size = fast_size(LENGTH + samples + _BEHIND)
        before = size - samples - _BEHIND
        drawn = drawn.earlier(before)
        speech, noise = self._read(self.speech, drawn.speech, size), self._noise(drawn, size)
        sounds = filtered(torch.stack((speech, noise)), drawn, self._made, self.rooms)
        sounds = sounds[..., before : before + samples]
        return self._mix(sounds[0], sounds[1], drawn)

    def _read(self, bank: SoundBank, crops: Crops, size: int) -> Tensor:
        return bank.read(crops, size).to(self.device, non_blocking=True)

    def _noise(self, drawn: Choices, size: int) -> Tensor:
        """The noises of all rows, ``(N, size)``, the first of each row with a mean square of 1."""
        device = self.device
        noise = torch.zeros(len(drawn.kind), size, device=device)

        def where(chosen: Array) -> tuple[Array, Tensor]:
            rows = np.flatnonzero(chosen)
            return rows, to_device(rows, device)

        first, first_rows = where(drawn.kind == RECORDED)
        second, second_rows = where(drawn.second_gain > 0)
        crops = drawn.noise.take(first).join(drawn.second.take(second))
        recorded = _even(self._read(self.noise, crops, size))
        noise.index_copy_(0, first_rows, recorded[: len(first)])
        made, made_rows = where(drawn.kind == COLOURED)
        if len(made):
            sound = self._made.read(drawn.coloured.take(made), size)
            noise.index_copy_(0, made_rows, _even(sound))
        talked, talked_rows = where(drawn.kind == BABBLE)
        if len(talked):
            crops = drawn.babble.take(talked)
            voices = self._read(self.speech, Crops(*(part.ravel() for part in crops)), size)
            gains = to_device(drawn.voices[talked].astype(np.float32), device)
            babble = (_even(voices).view(*gains.shape, size) * gains[:, :, None]).sum(dim=1)
            noise.index_copy_(0, talked_rows, _even(babble))
        gain = to_device(drawn.second_gain[second].astype(np.float32), device)
        return noise.index_add_(0, second_rows, recorded[len(first) :] * gain[:, None])

    def _mix(self, speech: Tensor, noise: Tensor, drawn: Choices) -> tuple[Tensor, Tensor]:
        """Sets ratio and level: ``(noisy, clean)``, each ``(N, L)``."""
        table = np.stack((drawn.snr, drawn.level, drawn.gain, drawn.clip, *drawn.heard.T))
        numbers = to_device(table.astype(np.float32), self.device)
        snr, level, loud, clip, spoken, noised = numbers
        if self.recipe.active_levels:
            speech_power, noise_power = active_power(speech), active_power(noise)
        else:
            speech_power, noise_power = (x.square().mean(dim=1) for x in (speech, noise))
        has_speech = (spoken > 0) & (speech_power > _SILENCE)
        has_noise = (noised > 0) & (noise_power > _SILENCE)
        wanted = (speech_power / (noise_power * 10 ** (snr / 10)).clamp_min(1e-20)).sqrt()
        gain = torch.where(has_noise, torch.where(has_speech, wanted, 1.0), 0.0)
        clean = speech * has_speech[:, None]
        noisy = clean + noise * gain[:, None]
        if self.recipe.level is not None:
            loud = 10 ** (level / 20) * active_power(noisy).clamp_min(1e-12).rsqrt()
        self._knock(noisy, drawn)
        peak = torch.maximum(noisy.abs().amax(dim=1), clean.abs().amax(dim=1))
        loud = torch.minimum(loud, _FULL_SCALE / peak.clamp_min(1e-6))[:, None]
        noisy, clean = noisy * loud, clean * loud
        limit = (clip * noisy.abs().amax(dim=1))[:, None]
        return torch.minimum(torch.maximum(noisy, -limit), limit), clean

    def _knock(self, noisy: Tensor, drawn: Choices) -> None:
        """Adds their knock to the rows of ``noisy`` ``(N, L)`` that shall have one."""
        rows = np.flatnonzero(drawn.knocks[:, 0])
        if not len(rows):
            return
        place = to_device(rows, self.device)
        sound = _even(self._made.read(drawn.knock.take(rows), noisy.shape[1]))
        numbers = to_device(drawn.knocks[rows].T.astype(np.float32), self.device)
        amplitude, start, length, decay = numbers[..., None]
        time = torch.arange(noisy.shape[1], device=self.device) / SAMPLE_RATE
        passed = (time - start) / length
        shape = (-decay * passed.clamp(0, 1)).exp() * ((passed >= 0) & (passed < 1))
        loud = active_power(noisy[place]).sqrt()[:, None]
        noisy.index_add_(0, place, sound * shape * amplitude * loud)


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


def _even(sound: Tensor) -> Tensor:
    """The rows of ``(N, L)`` at a mean square of 1; silence stays silent."""
    return sound * sound.square().mean(dim=1, keepdim=True).clamp_min(_SILENCE).rsqrt()


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
