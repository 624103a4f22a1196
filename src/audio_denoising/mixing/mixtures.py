"""Makes a batch of mixtures from speech, noise and their recipes, on the device that trains.

`augment` tells what can be in a recipe, in which order it happens and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from audio_denoising.mixing.augment import Recipe
from audio_denoising.mixing.effects import (
    NYQUIST,
    band,
    clip,
    coloured_noise,
    frequencies,
    second_order,
)
from audio_denoising.mixing.mixing import Stretches, mix_batch
from audio_denoising.mixing.reverberation import LEAD, TAPS, RoomBank

_RINGING = 352  # samples that filters other than rooms ring on, before and after
_NOTHING_LEFT = 1e-6  # of the power (-60 dB): what a filter leaves is rounding, not sound


Pair = tuple[Tensor, Tensor]
"""Noisy and clean waveforms of one batch, ``(N, L)`` each."""


def mixed(
    batches: Iterable[Stretches],
    rooms: RoomBank | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Pair]:
    """The mixtures of all batches, made on ``device``."""
    for stretches in batches:
        clean, noisy = make_mixtures(stretches.to(torch.device(device)), rooms)
        yield noisy, clean


def make_mixtures(stretches: Stretches, rooms: RoomBank | None = None) -> tuple[Tensor, Tensor]:
    """Follows the recipes: from speech and noise to the clean answer and the noisy input.

    With nothing but ratios in the recipes this is `mix_batch`. Silence stays finite.

    Args:
        stretches: a batch, its waveforms on any device, its recipes in main memory.
        rooms: of `Augmentation.rooms`, on the device of the waveforms.

    Returns:
        ``(clean, noisy)``, float32 ``(N, L)`` within [-1, 1].
    """
    speech, noise, recipe = stretches
    chosen = _columns(recipe)
    rows = _rows(chosen["noise_seed"])
    if len(rows):
        seeds, exponents = (chosen[name][rows] for name in ("noise_seed", "noise_exponent"))
        made = coloured_noise(seeds.long().to(noise.device), exponents.to(noise), noise.shape[-1])
        noise = noise.index_copy(0, rows.to(noise.device), made)
    speech, noise, target = _filtered(speech, noise, chosen, rooms)
    clean, noisy = mix_batch(speech, noise, chosen["snr_db"][:, 0], target=target)
    if chosen["gain_db"].any():
        peak = torch.maximum(clean.abs(), noisy.abs()).amax(dim=-1, keepdim=True)
        gain = (10 ** (chosen["gain_db"] / 20)).to(clean)
        gain = torch.minimum(gain, 1 / peak.clamp(min=1e-9))
        clean, noisy = clean * gain, noisy * gain
    rows = _rows(chosen["clipped_share"])
    if len(rows):
        place = rows.to(noisy.device)
        noisy = noisy.index_copy(0, place, clip(noisy[place], chosen["clipped_share"][rows]))
    return clean, noisy


def _columns(recipe: Tensor) -> dict[str, Tensor]:
    """A batch of recipes ``(N, K)`` by attribute, each ``(N, 1)``, filters ``(N, 4)``."""
    neutral = asdict(Recipe())
    widths = [int(np.size(value)) for value in neutral.values()]
    return dict(zip(neutral, recipe.split(widths, dim=-1), strict=True))


def _filtered(
    speech: Tensor, noise: Tensor, chosen: dict[str, Tensor], rooms: RoomBank | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """``(speech as heard, noise, clean answer)`` behind colouring, band limit and rooms.

    All of them are linear and do not change with time, so each is a product of spectra, taken in
    those rows that ask for it. The answer is None where it is the speech itself.
    """
    limited = _rows((chosen["low_hz"] > 0) | (chosen["high_hz"] < NYQUIST))
    in_room = _rows(chosen["room"] >= 0)
    coloured = {name: _rows(chosen[name]) for name in ("speech_filter", "noise_filter")}
    if not any(len(rows) for rows in (limited, in_room, *coloured.values())):
        return speech, noise, None
    length, device = speech.shape[-1], speech.device
    size = _fft_size(length + TAPS + _RINGING)
    hertz = frequencies(size, device)
    channel = band(
        chosen["low_hz"][limited].to(speech), chosen["high_hz"][limited].to(speech), hertz
    )
    spectra = []
    for waveform, (name, rows) in zip((speech, noise), coloured.items(), strict=True):
        spectrum = torch.fft.rfft(waveform, size)
        spectrum[rows.to(device)] *= second_order(chosen[name][rows].to(speech), hertz)
        spectrum[limited.to(device)] *= channel
        spectra.append(spectrum)

    def waveform_of(spectrum: Tensor) -> Tensor:
        return torch.fft.irfft(spectrum, size)[:, :length]

    behind = waveform_of(spectra[1])
    noise = behind * _level(noise, behind)
    answer = None
    if len(in_room):
        if rooms is None:
            raise ValueError("the recipes ask for rooms: pass those of Augmentation.rooms")
        rows, dry = in_room.to(device), spectra[0][in_room.to(device)]
        which = chosen["room"][in_room, 0].long().to(device)
        whole, early = (torch.fft.rfft(_aligned(taps[which], size)) for taps in rooms)
        spectra[0][rows] = dry * whole
        answer = waveform_of(dry * early)
    heard = waveform_of(spectra[0])
    level = _level(speech, heard)
    heard = heard * level
    if answer is None:
        return heard, noise, None
    return heard, noise, heard.index_copy(0, rows, answer * level[rows])


def _rows(wanted: Tensor) -> Tensor:
    """The numbers of the rows of ``(N, ...)`` that hold anything but zeros."""
    return wanted.any(dim=-1).nonzero()[:, 0]


def _aligned(taps: Tensor, size: int) -> Tensor:
    """Responses ``(N, TAPS)`` as ``(N, size)``, the direct sound at 0 and what leads it in wrapped
    around, so that nothing is delayed."""
    return pad(taps, (0, size - taps.shape[-1])).roll(-LEAD, dims=-1)


def _level(before: Tensor, after: Tensor) -> Tensor:
    """The gain ``(N, 1)`` that gives ``after`` the power of ``before``; 0 where nothing is left."""
    powers = [part.square().mean(dim=-1, keepdim=True) for part in (before, after)]
    left = powers[1] > _NOTHING_LEFT * powers[0]
    return torch.where(left, (powers[0] / powers[1]).sqrt(), 0.0)


def _fft_size(least: int) -> int:
    """The next power of two, or three quarters of it."""
    power_of_two = 1 << (least - 1).bit_length()
    return power_of_two * 3 // 4 if power_of_two * 3 // 4 >= least else power_of_two
