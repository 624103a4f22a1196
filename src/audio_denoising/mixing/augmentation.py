"""What richer recipes do to a batch: noises, filters, rooms, knocks, levels, as drawn for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.mixing.bank import Array, Crops, SoundBank, even, to_device
from audio_denoising.mixing.choices import BABBLE, COLOURED, RECORDED, Choices
from audio_denoising.mixing.filters import band_pass, biquad, fast_size
from audio_denoising.mixing.rooms import LENGTH, made_rooms

if TYPE_CHECKING:
    from audio_denoising.mixing.batch import Mixer

_BEHIND = 256  # samples (16 ms) after which a band-pass, which has no delay, hardly rings any more
_CHANGE_SECONDS = 0.05  # in which a level changes


def augmented(mixer: Mixer, drawn: Choices, samples: int) -> tuple[Tensor, Tensor]:
    """Speech and noise of the mixtures that are drawn, ``(N, samples)`` each, not mixed yet."""
    recipe = mixer.recipe
    if not max(recipe.biquad, recipe.low_pass, recipe.room):
        return mixer.read(mixer.speech, drawn.speech, samples), _noises(mixer, drawn, samples)
    # Sound from before the crop is read too, as far back as a room rings, and a little from
    # behind it. The transform goes round in a circle, so what a filter carries over one end
    # of it comes out at the other, outside the crop.
    size = fast_size(LENGTH + samples + _BEHIND)
    before = size - samples - _BEHIND
    drawn = drawn.earlier(before)
    speech, noise = mixer.read(mixer.speech, drawn.speech, size), _noises(mixer, drawn, size)
    spectra = torch.fft.rfft(torch.stack((speech, noise)))
    coefficients = to_device(drawn.biquads.astype(np.float32), mixer.device)
    spectra[0] *= biquad(coefficients[:, 0], size)
    spectra[1] *= biquad(coefficients[:, 1], size)
    edges = to_device(np.stack((drawn.rise, drawn.cutoff)), mixer.device)
    spectra *= band_pass(edges[0], edges[1], size)
    _reverberate(mixer, spectra[0], drawn, size)
    speech, noise = torch.fft.irfft(spectra, n=size)[..., before : before + samples]
    return speech, noise


def _noises(mixer: Mixer, drawn: Choices, size: int) -> Tensor:
    """The noises of all rows, ``(N, size)``, the first of each row with a mean square of 1."""
    device = mixer.device
    noise = torch.zeros(len(drawn.kind), size, device=device)

    def where(chosen: Array) -> tuple[Array, Tensor]:
        rows = np.flatnonzero(chosen)
        return rows, to_device(rows, device)

    first, first_rows = where(drawn.kind == RECORDED)
    second, second_rows = where(drawn.second_gain > 0)
    crops = drawn.noise.take(first).join(drawn.second.take(second))
    recorded = even(mixer.read(mixer.noise, crops, size))
    noise.index_copy_(0, first_rows, recorded[: len(first)])
    coloured, coloured_rows = where(drawn.kind == COLOURED)
    if len(coloured):
        sound = mixer.made.read(drawn.coloured.take(coloured), size)
        noise.index_copy_(0, coloured_rows, even(sound))
    talked, talked_rows = where(drawn.kind == BABBLE)
    if len(talked):
        crops = drawn.babble.take(talked)
        voices = mixer.read(mixer.speech, Crops(*(part.ravel() for part in crops)), size)
        gains = to_device(drawn.voices[talked].astype(np.float32), device)
        babble = (even(voices).view(*gains.shape, size) * gains[:, :, None]).sum(dim=1)
        noise.index_copy_(0, talked_rows, even(babble))
    gain = to_device(drawn.second_gain[second].astype(np.float32), device)
    return noise.index_add_(0, second_rows, recorded[len(first) :] * gain[:, None])


def _reverberate(mixer: Mixer, spectrum: Tensor, drawn: Choices, size: int) -> None:
    """Puts the rows of ``spectrum`` ``(N, F)`` that shall be in a room into theirs."""
    device = mixer.device
    rows = np.flatnonzero(drawn.room > -2)
    if not len(rows):
        return
    noise = mixer.made.read(drawn.tail.take(rows), LENGTH)
    t60, direct = to_device(np.stack((drawn.t60[rows], drawn.direct[rows])), device)
    responses = made_rooms(noise, t60, direct)
    measured = np.flatnonzero(drawn.room[rows] >= 0)
    if len(measured):
        numbers = to_device(drawn.room[rows][measured], device)
        responses.index_copy_(0, to_device(measured, device), mixer.rooms[numbers])
    place = to_device(rows, device)
    heard = spectrum[place] * torch.fft.rfft(responses, n=size)
    spectrum.index_copy_(0, place, heard)


def made_knocks(drawn: Choices, made: SoundBank, samples: int) -> tuple[Tensor, Tensor]:
    """The rows that shall have a knock, ``(K,)``, and these ``(K, samples)`` over a level of 1."""
    device = made.samples.device
    rows = np.flatnonzero(drawn.knocks[:, 0])
    sound = even(made.read(drawn.knock.take(rows), samples))
    numbers = to_device(drawn.knocks[rows].T.astype(np.float32), device)
    amplitude, start, length, decay = numbers[..., None]
    time = torch.arange(samples, device=device) / SAMPLE_RATE
    passed = (time - start) / length
    shape = (-decay * passed.clamp(0, 1)).exp() * ((passed >= 0) & (passed < 1))
    return to_device(rows, device), sound * shape * amplitude


def changes(drawn: Choices, samples: int, device: torch.device) -> Tensor:
    """Gains ``(N, samples)`` of mixtures that change their level: 1 where they are loudest."""
    decibels, start = to_device(drawn.changes.T.astype(np.float32), device)[..., None]
    time = torch.arange(samples, device=device) / SAMPLE_RATE
    passed = ((time - start) / _CHANGE_SECONDS).clamp(0, 1)
    return 10 ** ((decibels * passed - decibels.clamp(min=0)) / 20)
