"""Draws everything there is to draw for a batch of mixtures, in main memory.

The numbers depend on the seed and the step alone, so a run that goes on makes the batches it
would have made, and each of several processes can render its share of the same batch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.mixing.bank import Array, Crops, SoundBank
from audio_denoising.mixing.recipe import Range, Recipe

RECORDED, BABBLE, COLOURED = 0, 1, 2


@dataclass(frozen=True)
class Choices:
    """One row for each of N mixtures. What a row does not use is drawn all the same."""

    speech: Crops
    noise: Crops
    second: Crops
    coloured: Crops  # of the made noise
    babble: Crops  # of other voices (N, V)
    voices: Array  # (N, V), their gains, 0 if absent
    kind: Array  # which noise it is, `RECORDED`, `BABBLE` or `COLOURED`
    second_gain: Array  # of the added noise over the first; 0 where none is added
    snr: Array  # dB, as the level
    level: Array
    gain: Array  # what brings the speech back to the level that it was recorded at
    heard: Array  # (N, 2), whether speech and noise are in the mixture at all
    biquads: Array  # (N, 2, 4), coefficients for speech and noise
    cutoff: Array  # Hz, infinite where nothing is cut, as `rise`
    clip: Array  # part of the peak, 1 where nothing is clipped
    room: Array  # -2 for none, -1 for a made one, otherwise the number of a measured one
    t60: Array  # of a made room, as what follows
    direct: Array
    tail: Crops  # where its noise begins
    knock: Crops  # where the noise of a knock begins
    knocks: Array  # (N, 4): amplitude over all else, 0 for none; start and length in s; decay
    changes: Array  # (N, 2): by how much the level changes in dB, 0 for not; when, in s
    rise: Array  # Hz, where the band begins that ends at the cutoff

    def take(self, rows: slice) -> Choices:
        """Some of the rows."""
        parts: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, part in parts.items():
            parts[name] = part.take(rows) if isinstance(part, Crops) else part[rows]
        return Choices(**parts)

    def earlier(self, samples: int) -> Choices:
        """The same with crops of speech and noise that begin ``samples`` samples earlier."""
        crops = {name: getattr(self, name) for name in ("speech", "noise", "second", "babble")}
        for name, crop in crops.items():
            crops[name] = crop._replace(offset=crop.offset - samples * crop.speed)
        return replace(self, **crops)


def draw(
    recipe: Recipe,
    random: np.random.Generator,
    banks: tuple[SoundBank, SoundBank, SoundBank],
    count: int,
    samples: int,
    rooms: int,
    spoken: Array | None = None,
) -> Choices:
    """Draws ``count`` mixtures of ``samples`` samples.

    Args:
        banks: speech, recorded noise and made noise (its first recording is white).
        rooms: number of measured rooms.
        spoken: ``(N,)``, the recordings of speech, if they are not to be drawn.
    """
    speech, noise, made = banks

    def chance(probability: float) -> Array:
        return random.random(count) < probability

    def spread(limits: Range, *shape: int) -> Array:
        return random.uniform(*limits, shape or count)

    def speed(limits: Range) -> Array:
        return np.where(chance(recipe.speed), spread(limits), 1.0)

    def noise_crops() -> Crops:
        pause = np.where(chance(recipe.pausing), spread(recipe.noise_pause), 0.0)
        place = speed(recipe.noise_speed), pause, recipe.noise_active, samples
        found = noise.draw(random, count)
        return _crops(random, noise, found, recipe.candidates, *place)

    voices = random.integers(*recipe.babble_voices, count, endpoint=True)
    most = recipe.babble_voices[1]
    talking = np.arange(most) < voices[:, None]
    talk = 10 ** (spread(recipe.babble_spread, count, most) / 20)

    tempo, pause = speed(recipe.speech_speed), spread(recipe.speech_pause)
    found = speech.draw(random, count) if spoken is None else spoken
    heard = _crops(
        *(random, speech, found, recipe.candidates, tempo, pause, recipe.speech_active, samples),
        inside=recipe.inside,
    )
    others, pauses = np.ones((count, most)), spread(recipe.speech_pause, count, most)
    talkers = speech.draw(random, (count, most))
    babble = _crops(random, speech, talkers, 1, others, pauses, 0.0, samples)
    # Whoever speaks is not among the others, as far as speakers are known.
    other = speech.groups[babble.recording] != speech.groups[heard.recording][:, None]

    def steady() -> Crops:
        found = made.draw(random, count)
        return _crops(random, made, found, 1, np.ones(count), np.zeros(count), 0.0, samples)

    kind, made_up = random.random(count), recipe.babble + recipe.coloured
    alone = random.random(count)
    noise_alone = (recipe.clean_only <= alone) & (alone < recipe.clean_only + recipe.noise_only)
    second = np.where(chance(recipe.second), 10 ** (spread(recipe.second_level) / 20), 0.0)
    coefficients = random.uniform(-recipe.biquad_size, recipe.biquad_size, (count, 2, 4))
    filtered = random.random((count, 2, 1)) < recipe.biquad
    measured = random.integers(rooms, size=count) if rooms else np.full(count, -1)
    room = np.where(chance(recipe.measured), measured, -1)
    tail = steady()
    return Choices(
        speech=heard,
        noise=noise_crops(),
        second=noise_crops(),
        coloured=steady(),
        babble=babble,
        voices=np.where(talking & other, talk, 0.0),
        kind=np.select([kind < recipe.babble, kind < made_up], [BABBLE, COLOURED], RECORDED),
        second_gain=second,
        snr=spread(recipe.snr),
        level=spread(recipe.level or (0.0, 0.0)),
        gain=speech.gains[heard.recording],
        heard=np.stack((~noise_alone, alone >= recipe.clean_only), axis=1),
        biquads=np.where(filtered, coefficients, 0.0),
        cutoff=(cutoff := np.where(chance(recipe.low_pass), spread(recipe.cutoff), np.inf)),
        clip=np.where(chance(recipe.clipping), spread(recipe.clip), 1.0),
        room=np.where(chance(recipe.room), room, -2),
        t60=spread(recipe.t60),
        direct=spread(recipe.direct),
        tail=tail._replace(recording=np.zeros_like(tail.recording)),
        knock=steady(),
        knocks=np.stack(
            (
                np.where(chance(recipe.knock), 10 ** (spread(recipe.knock_level) / 20), 0.0),
                spread((0.0, samples / SAMPLE_RATE)),
                spread(recipe.knock_length),
                spread(recipe.knock_decay),
            ),
            axis=1,
        ),
        changes=np.stack(
            (
                np.where(chance(recipe.change), spread(recipe.change_level), 0.0),
                spread((0.0, samples / SAMPLE_RATE)),
            ),
            axis=1,
        ),
        rise=np.where(chance(recipe.high_pass) & (cutoff < np.inf), spread(recipe.rise), -np.inf),
    )


def _crops(
    random: np.random.Generator,
    bank: SoundBank,
    recording: Array,
    candidates: int,
    speed: Array,
    pause: Array,
    active: float,
    samples: int,
    inside: bool = False,
) -> Crops:
    """Draws a place in each recording: the first of some that is active enough, else the best.

    Args:
        recording, speed, pause: of one shape, that of the result; pauses in seconds.
        active: share of a crop of ``samples`` samples.
        inside: see `Recipe.inside`.
    """
    pause = np.rint(pause * SAMPLE_RATE)
    length = bank.lengths[recording]
    share = random.random((candidates, *speed.shape))
    if inside:
        spare = length - np.ceil(samples * speed)
        pause = np.maximum(pause, -spare)
        offsets = np.floor(share * (np.abs(spare) + 1)) * np.sign(spare)
    else:
        offsets = np.floor(share * (length + pause))
    crops = Crops(recording, offsets, speed, pause)
    if candidates == 1:
        return crops._replace(offset=offsets[0])
    enough = np.minimum(bank.active_share(crops, samples), active)
    best = enough.argmax(axis=0)  # the first of equals
    return crops._replace(offset=np.take_along_axis(offsets, best[None], axis=0)[0])
