"""Variety beyond speech plus one noise: what may happen to a mixture, and making it happen.

Training with the original system's mixtures (`ORIGINAL`) hears one recorded noise at 0 to 15 dB. A
network that always met so much takes it for granted: in good recordings it removes speech. Hence
"wide", the same mixtures at -3 to 27 dB.

Recordings in the wild are louder, fainter, reverberant, clipped, telephoned or drowned in hiss. An
`Augmentation` says how often each of these shall occur; its `draw` decides for one mixture and
writes the decisions into a `Recipe`; `mixtures.make_mixtures` follows a batch of recipes on the
device that trains. A recipe comes from the random numbers of its item alone, and a mixture from
its recipe alone, so both are the same whatever the batch or the worker.

What happens, in this order, and whether the clean answer has it too. The rule: what the network
could only undo by inventing sound belongs to the answer, and what it shall remove does not.

================  ==========================================================  =====================
speed             resampled: pitch and tempo change (Ko et al., 2015)         answer too
two noises        a second recording is added at about the level of the one   removed
synthetic noise   power falls as 1/f^exponent: white 0, pink 1, brown 2       removed
                  (Timmer and König, 1995), in place of the recording
colouring         random second-order filters, one for the speech and one     the speech's own is in
                  for the noise (Valin, 2018)                                 the answer
band limit        low-pass, or the telephone's 300 to 3400 Hz (ITU-T G.712)   answer too: the rest
                                                                              is gone for good
reverberation     image-source rooms (Allen and Berkley, 1979)                the first 50 ms, which
                                                                              the ear takes for the
                                                                              voice itself
ratio             of the speech as it is then heard to the noise, in dB
gain              of the whole mixture, as far as full scale allows           answer too
clipping          the given share of samples is cut off at one level          removed
================  ==========================================================  =====================

Filters keep the power of the speech: how loud it is, the gain alone decides.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np
import soxr
import torch
from torch import Tensor

from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.mixing.effects import COLOURING, NYQUIST
from audio_denoising.mixing.mixing import Waveform, power
from audio_denoising.mixing.reverberation import ROOMS, RoomBank, room_bank

TELEPHONE_HZ = (300.0, 3400.0)

_Range = tuple[float, float]
_Filter = tuple[float, float, float, float]

_UNCHANGED: _Filter = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Recipe:
    """Every random choice behind one mixture. The defaults change nothing.

    Attributes:
        snr_db: ratio of speech to noise; drawn by the dataset, as the last of its choices.
        speed, noise_speed: factors by which speech and noise are played faster when decoded.
        second_noise: whether another noise is added, ``second_noise_db`` louder than the first.
        noise_seed: above 0, synthetic noise of this seed and ``noise_exponent`` is used.
        speech_filter, noise_filter: r1, r2, r3, r4 of `effects.second_order`.
        low_hz, high_hz: ends of the band.
        room: which room of the bank; -1 is none.
        gain_db: of the whole mixture.
        clipped_share: of the noisy samples that are cut off.
    """

    snr_db: float = 0.0
    speed: float = 1.0
    noise_speed: float = 1.0
    second_noise: bool = False
    second_noise_db: float = 0.0
    noise_seed: int = 0
    noise_exponent: float = 0.0
    speech_filter: _Filter = _UNCHANGED
    noise_filter: _Filter = _UNCHANGED
    low_hz: float = 0.0
    high_hz: float = NYQUIST
    room: int = -1
    gain_db: float = 0.0
    clipped_share: float = 0.0

    def as_tensor(self) -> Tensor:
        """float64 ``(K,)``: the attributes in their order, filters as four numbers."""
        return torch.from_numpy(np.hstack(astuple(self)).astype(np.float64))


@dataclass(frozen=True)
class Augmentation:
    """How often what happens (a chance from 0 to 1) and how far it goes (lowest and highest).

    The defaults are the original system: nothing but the ratio varies.

    Attributes:
        snr_db: ratio of speech to noise.
        speed, noise_speed: factors; 1.0 leaves the tempo as recorded.
        second_noise: chance of a second noise; ``second_noise_db`` over the first.
        synthetic: chance of synthetic noise; its ``exponent``.
        colouring: chance of a filter, for speech and for noise on its own.
        telephone: chance of the telephone band. low_pass: chance, otherwise, of a low-pass, which
            lets through up to ``low_pass_hz``.
        reverberation: chance of a room.
        gain_db: of the whole mixture.
        clipping: chance; ``clipped_share`` of the samples.
    """

    snr_db: _Range = (0.0, 15.0)
    speed: _Range = (1.0, 1.0)
    noise_speed: _Range = (1.0, 1.0)
    second_noise: float = 0.0
    second_noise_db: _Range = (-5.0, 5.0)
    synthetic: float = 0.0
    exponent: _Range = (0.0, 2.0)
    colouring: float = 0.0
    telephone: float = 0.0
    low_pass: float = 0.0
    low_pass_hz: _Range = (2000.0, 7000.0)
    reverberation: float = 0.0
    gain_db: _Range = (0.0, 0.0)
    clipping: float = 0.0
    clipped_share: _Range = (0.001, 0.03)

    def draw(self, rng: np.random.Generator) -> Recipe:
        """Decides everything but the ratio. What is off takes no random number."""

        def happens(chance: float) -> bool:
            return chance > 0 and bool(rng.random() < chance)

        def between(bounds: _Range) -> float:
            return bounds[0] if bounds[0] == bounds[1] else float(rng.uniform(*bounds))

        def random_filter() -> _Filter:
            if not happens(self.colouring):
                return _UNCHANGED
            r1, r2, r3, r4 = rng.uniform(-COLOURING, COLOURING, 4).tolist()
            return r1, r2, r3, r4

        speed, noise_speed = between(self.speed), between(self.noise_speed)
        second = happens(self.second_noise)
        second_db = between(self.second_noise_db) if second else 0.0
        synthetic = happens(self.synthetic)
        seed = int(rng.integers(1, 2**53)) if synthetic else 0  # a float64 holds it exactly
        exponent = between(self.exponent) if synthetic else 0.0
        filters = random_filter(), random_filter()
        low, high = 0.0, NYQUIST
        if happens(self.telephone):
            low, high = TELEPHONE_HZ
        elif happens(self.low_pass):
            high = between(self.low_pass_hz)
        return Recipe(
            speed=speed,
            noise_speed=noise_speed,
            second_noise=second,
            second_noise_db=second_db,
            noise_seed=seed,
            noise_exponent=exponent,
            speech_filter=filters[0],
            noise_filter=filters[1],
            low_hz=low,
            high_hz=high,
            room=int(rng.integers(ROOMS)) if happens(self.reverberation) else -1,
            gain_db=between(self.gain_db),
            clipped_share=between(self.clipped_share) if happens(self.clipping) else 0.0,
        )

    def rooms(self, seed: int, device: torch.device) -> RoomBank | None:
        """The rooms of a run, or None where no mixture will need one.

        Raises:
            UserError: they need a library that is not installed.
        """
        return room_bank(seed).to(device) if self.reverberation > 0 else None


ORIGINAL = Augmentation()

PRESETS = {
    "original": ORIGINAL,
    "wide": Augmentation(snr_db=(-3.0, 27.0)),
    "varied": Augmentation(
        snr_db=(-5.0, 20.0),
        speed=(0.9, 1.1),
        noise_speed=(0.8, 1.25),
        second_noise=0.25,
        synthetic=0.1,
        colouring=0.5,
        telephone=0.05,
        low_pass=0.15,
        reverberation=0.35,
        gain_db=(-20.0, 6.0),
        clipping=0.05,
    ),
}


def preset(name: str) -> Augmentation:
    """The augmentation called ``name``; raises UserError where there is none."""
    if name not in PRESETS:
        raise UserError(f"unknown augmentation {name!r}: choose {', '.join(PRESETS)}")
    return PRESETS[name]


def read_length(length: int, speed: float) -> int:
    """Samples to decode so that `change_speed` can make ``length`` of them."""
    return math.ceil(length * speed)


def change_speed(samples: Waveform, speed: float, length: int) -> Waveform:
    """Plays a waveform ``speed`` times as fast, by resampling: pitch and tempo go together.

    Ko, Peddinti, Povey, Khudanpur: Audio augmentation for speech recognition, Interspeech 2015.

    Args:
        samples: float32, `read_length` of them.
        speed: above 1 is faster and higher.
        length: samples wanted; a sample that is missing at the end is zero.
    """
    played = soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE)[:length]
    return np.pad(played, (0, length - len(played)))


def join_noises(first: Waveform, second: Waveform, second_db: float) -> Waveform:
    """Two noises at once, float32 ``(L,)``: the second is made ``second_db`` louder than the first.

    Where one is silent the other is heard alone.
    """
    powers = power(first), power(second)
    gain = 1.0
    if all(powers):
        gain = math.sqrt(powers[0] / powers[1] * 10 ** (second_db / 10))
    return (first + np.float32(gain) * second).astype(np.float32)
