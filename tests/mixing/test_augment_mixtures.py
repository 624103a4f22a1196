"""Every augmentation is measured for what it promises, on waveforms where it can be measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter, welch
from torch import Tensor

from audio_denoising.mixing.augment import PRESETS, Recipe
from audio_denoising.mixing.effects import clip, coloured_noise
from audio_denoising.mixing.mixing import Stretches, mix, power
from audio_denoising.mixing.mixtures import make_mixtures
from audio_denoising.mixing.reverberation import EARLY, LEAD, ROOMS, TAPS, RoomBank

RATE = 16_000
LENGTH = 16_000


def white(seed: int, level: float = 0.05, rows: int = 1, length: int = LENGTH) -> Tensor:
    return level * torch.randn(rows, length, generator=torch.Generator().manual_seed(seed))


def follow(
    *recipes: Recipe, speech: Tensor | None = None, noise: Tensor | None = None, rooms=None
) -> tuple[Tensor, Tensor]:
    rows = len(recipes)
    speech = white(0, rows=rows) if speech is None else speech
    noise = white(1, rows=rows) if noise is None else noise
    recipe = torch.stack([recipe.as_tensor() for recipe in recipes])
    return make_mixtures(Stretches(speech, noise, recipe), rooms)


def decibels(ratio: float) -> float:
    return 10 * np.log10(max(ratio, 1e-20))


def snr(clean: Tensor, noisy: Tensor) -> float:
    return decibels(power(clean) / power(noisy.double() - clean))


def energy(waveform: Tensor, low: float, high: float) -> float:
    spectrum = torch.fft.rfft(waveform.double() * torch.hann_window(waveform.shape[-1]))
    hertz = torch.fft.rfftfreq(waveform.shape[-1], 1 / RATE)
    return float(spectrum.abs().square()[..., (hertz >= low) & (hertz <= high)].sum())


@pytest.fixture(scope="module")
def rooms() -> RoomBank:
    """Decaying noise in place of real rooms: a direct sound, then reflections from 2 ms on."""
    whole = white(7, 0.05, ROOMS, TAPS) * torch.exp(-torch.arange(TAPS) / 1_500)
    whole[:, : LEAD + 32] = 0
    whole[:, LEAD] = 1
    early = whole.clone()
    early[:, LEAD + EARLY :] = 0
    return RoomBank(whole, early)


def varied(seed: int, **changes) -> Recipe:
    rng = np.random.default_rng(seed)
    return replace(PRESETS["varied"].draw(rng), snr_db=rng.uniform(-5, 20), **changes)


def test_the_original_is_the_plain_mixture():
    speech, noise = white(2, 0.3, 3), white(3, 0.1, 3)
    ratios = (0.0, 7.3, 15.0)
    clean, noisy = follow(*(Recipe(snr_db=r) for r in ratios), speech=speech, noise=noise)
    for row, ratio in enumerate(ratios):
        expected = mix(speech[row], noise[row], ratio)
        for found, wanted in zip((clean[row], noisy[row]), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from([1e-4, 0.05, 3.0]))
def test_whatever_is_drawn_stays_finite_and_within_full_scale(rooms, seed, level):
    speech, noise = white(4, level), white(5, level)
    before = speech.clone(), noise.clone()
    clean, noisy = follow(varied(seed), speech=speech, noise=noise, rooms=rooms)
    for part in (clean, noisy):
        assert part.dtype == torch.float32
        assert part.shape == (1, LENGTH)
        assert part.isfinite().all()
        assert part.abs().max() <= 1
    assert power(clean) > 0
    assert torch.equal(speech, before[0])  # what was handed over is left as it is
    assert torch.equal(noise, before[1])


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_the_ratio_holds_through_filters_bands_and_gain(seed):
    recipe = varied(seed, room=-1, clipped_share=0.0)
    assert snr(*follow(recipe)) == pytest.approx(recipe.snr_db, abs=0.02)


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_silence_stays_finite(rooms, seed):
    sound, silence = white(6), torch.zeros(1, LENGTH)
    recipe = varied(seed)
    clean, noisy = follow(recipe, speech=silence, noise=silence, rooms=rooms)
    assert not clean.any()
    if not recipe.noise_seed:
        assert not noisy.any()
    clean, noisy = follow(recipe, speech=silence, noise=sound, rooms=rooms)
    assert not clean.any()
    assert noisy.isfinite().all()
    clean, noisy = follow(replace(recipe, noise_seed=0), speech=sound, noise=silence, rooms=rooms)
    assert noisy.isfinite().all()
    assert power(clean) > 0


def test_a_batch_is_its_items_one_by_one(rooms):
    recipes = [varied(seed) for seed in range(12)]
    assert {recipe.room >= 0 for recipe in recipes} == {True, False}
    speech, noise = white(8, rows=12), white(9, rows=12)
    together = follow(*recipes, speech=speech, noise=noise, rooms=rooms)
    again = follow(*recipes, speech=speech, noise=noise, rooms=rooms)
    for row, recipe in enumerate(recipes):
        alone = follow(
            recipe, speech=speech[row : row + 1], noise=noise[row : row + 1], rooms=rooms
        )
        for whole, same, one in zip(together, again, alone, strict=True):
            assert torch.equal(whole[row], same[row])
            torch.testing.assert_close(whole[row], one[0], atol=2e-6, rtol=0)


@pytest.mark.parametrize("gain_db", [-20.0, -3.0, 6.0])
def test_gain_moves_clean_and_noisy_alike(gain_db):
    plain = follow(Recipe(snr_db=5))
    louder = follow(Recipe(snr_db=5, gain_db=gain_db))
    for before, after in zip(plain, louder, strict=True):
        torch.testing.assert_close(after, before * 10 ** (gain_db / 20))


def test_gain_ends_at_full_scale():
    clean, noisy = follow(Recipe(snr_db=5, gain_db=60))
    assert float(noisy.abs().max()) == pytest.approx(1, abs=1e-6)
    assert snr(clean, noisy) == pytest.approx(5, abs=0.01)


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 1.0, 2.0])
def test_synthetic_noise_falls_off_as_its_exponent_says(exponent):
    noise = coloured_noise(torch.tensor([1, 2, 3]), torch.full((3, 1), exponent), 40_800)
    assert noise.square().mean(dim=-1) == pytest.approx(1, rel=1e-3)
    hertz, density = welch(noise.double().numpy(), RATE, nperseg=4_096)
    inside = (hertz > 60) & (hertz < 7_000)
    slope = np.polyfit(np.log(hertz[inside]), np.log(density.mean(axis=0)[inside]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)
    kurtosis = float((noise[0] ** 4).mean())
    assert kurtosis == pytest.approx(3, abs=0.3)  # as of Gaussian noise: no pulses
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(float((noise[one] * noise[other]).mean())) < 0.1


def test_synthetic_noise_is_a_function_of_its_seed_and_replaces_the_recording():
    recipe = Recipe(snr_db=5, noise_seed=2**53 - 1, noise_exponent=1.0)
    expected = follow(recipe, noise=white(10))[1]
    assert torch.equal(follow(recipe, noise=white(11))[1], expected)
    assert not torch.equal(follow(replace(recipe, noise_seed=2**53 - 2))[1], expected)


def test_odd_lengths_have_synthetic_noise_too():
    assert coloured_noise(torch.tensor([5]), torch.ones(1, 1), 7_777).shape == (1, 7_777)


@pytest.mark.parametrize(
    "r", [(0.375,) * 4, (-0.375, 0.375, 0.2, -0.375), (0.1, 0, -0.375, -0.375)]
)
def test_colouring_is_the_second_order_filter_it_says(r):
    speech, noise = white(12), white(13)
    reference = lfilter([1, r[0], r[1]], [1, r[2], r[3]], speech[0].double())
    reference *= np.sqrt(power(speech) / power(reference))  # as loud as before
    clean, noisy = follow(Recipe(snr_db=5, speech_filter=r), speech=speech, noise=noise)
    np.testing.assert_allclose(clean[0], reference, atol=1e-6)
    added = (noisy - clean)[0]
    np.testing.assert_allclose(added / added[9], noise[0] / noise[0, 9], rtol=0.01, atol=1e-3)
    # The noise has a filter of its own, and the answer does not hear of it.
    clean, noisy = follow(Recipe(snr_db=5, noise_filter=r), speech=speech, noise=noise)
    np.testing.assert_allclose(clean, speech, atol=1e-7)
    reference = lfilter([1, r[0], r[1]], [1, r[2], r[3]], noise[0].double())
    added = (noisy - clean)[0].numpy()
    np.testing.assert_allclose(added / added.std(), reference / reference.std(), atol=1e-4)


@pytest.mark.parametrize(("low", "high"), [(0.0, 2_000.0), (0.0, 7_000.0), (300.0, 3_400.0)])
def test_a_band_limit_leaves_nothing_outside_and_everything_inside(low, high):
    plain = follow(Recipe(snr_db=5))
    limited = follow(Recipe(snr_db=5, low_hz=low, high_hz=high))
    for before, after in zip(plain, limited, strict=True):
        inside = energy(after, low, high)
        assert decibels(energy(after, 1.16 * high, RATE / 2) / inside) < -60
        if low:
            assert decibels(energy(after, 0, 0.48 * low) / inside) < -55
        middle = (max(2 * low, 50), 0.9 * high)
        halves = [(middle[0], sum(middle) / 2), (sum(middle) / 2, middle[1])]
        losses = [decibels(energy(after, *h) / energy(before, *h)) for h in halves]
        assert losses[0] == pytest.approx(losses[1], abs=0.3)  # flat
        shifted = torch.fft.irfft(torch.fft.rfft(after) * torch.fft.rfft(before).conj())
        assert int(shifted[0].argmax()) == 0  # and not delayed


def test_noise_that_the_band_removes_is_not_dug_out_again():
    tone = 0.1 * torch.sin(2 * torch.pi * 6_000 * torch.arange(LENGTH) / RATE)[None]
    tone *= torch.hann_window(LENGTH)
    clean, noisy = follow(Recipe(snr_db=-5, high_hz=3_000), noise=tone)
    assert torch.equal(clean, noisy)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.03])
def test_clipping_cuts_the_share_it_says_and_not_the_answer(share):
    clean, noisy = follow(Recipe(snr_db=5))
    unclipped, clipped = follow(Recipe(snr_db=5, clipped_share=share))
    assert torch.equal(unclipped, clean)
    limit = clipped.abs().max()
    cut = noisy.abs() > limit
    assert float(cut.float().mean()) == pytest.approx(share, abs=2 / LENGTH)
    assert (clipped[cut].abs() == limit).all()
    assert torch.equal(clipped[~cut], noisy[~cut])


def test_clipping_spares_rows_that_do_not_ask_and_rows_that_are_nearly_silent():
    sparse = torch.zeros(2, 1_000)
    sparse[:, 3] = 0.5
    share = torch.tensor([[0.01], [0.0]])
    assert torch.equal(clip(sparse, share), sparse)


def test_in_a_room_the_answer_keeps_the_first_50_ms_undelayed(rooms):
    click = torch.zeros(1, LENGTH)
    click[0, 1_000] = 0.5
    silence = torch.zeros(1, LENGTH)
    clean, heard = follow(Recipe(room=3), speech=click, noise=silence, rooms=rooms)
    for part in (clean, heard):
        assert int(part[0].abs().argmax()) == 1_000  # the direct sound, where it was
        assert part[0, :990].abs().max() < 1e-6
    scale = heard[0, 1_000]
    torch.testing.assert_close(
        heard[0, 1_000 : 1_000 + TAPS - LEAD], scale * rooms.whole[3, LEAD:], atol=1e-6, rtol=0
    )
    torch.testing.assert_close(clean[0, : 1_000 + EARLY], heard[0, : 1_000 + EARLY])
    assert clean[0, 1_000 + EARLY :].abs().max() < 1e-6
    assert heard[0, 1_000 + EARLY :].abs().max() > 1e-3
    assert power(heard) == pytest.approx(power(click), rel=1e-4)


def test_reverberation_ends_with_the_stretch_and_does_not_go_round(rooms):
    click = torch.zeros(1, LENGTH)
    click[0, -50] = 0.5
    for part in follow(Recipe(room=3), speech=click, noise=torch.zeros(1, LENGTH), rooms=rooms):
        assert part[0, : -50 - LEAD].abs().max() < 1e-6
        assert part[0, -50] > 0.1


def test_in_a_room_the_ratio_is_of_the_speech_as_it_is_heard(rooms):
    speech, noise = white(14), white(15, 0.02)
    recipe = Recipe(snr_db=3.0, room=0)
    heard = follow(recipe, speech=speech, noise=torch.zeros_like(noise), rooms=rooms)[1]
    noisy = follow(recipe, speech=speech, noise=noise, rooms=rooms)[1]
    # Nothing here comes near full scale, so the mixture is the plain sum.
    assert decibels(power(heard) / power(noisy - heard)) == pytest.approx(3.0, abs=0.01)


def test_a_recipe_that_asks_for_rooms_must_get_them():
    with pytest.raises(ValueError, match="rooms"):
        follow(Recipe(room=0))


def test_everything_but_the_recipe_may_be_on_another_device(rooms):
    # The meta device computes shapes alone, and refuses tensors of another device beside its own.
    elsewhere = torch.device("meta")
    changes = {"noise_seed": 7, "low_hz": 300.0, "room": 2, "gain_db": -3.0, "clipped_share": 0.01}
    recipe = torch.stack([varied(seed, **changes).as_tensor() for seed in range(3)])
    stretches = Stretches(white(0, rows=3).to(elsewhere), white(1, rows=3).to(elsewhere), recipe)
    for part in make_mixtures(stretches, rooms.to(elsewhere)):
        assert part.device == elsewhere
        assert part.shape == (3, LENGTH)
