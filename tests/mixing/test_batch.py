"""Whole batches: that they are what was drawn, and the same whoever makes them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from audio_denoising.dsp.level import ActiveLevel
from audio_denoising.mixing.bank import SoundBank
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.choices import BABBLE, COLOURED, RECORDED
from audio_denoising.mixing.recipe import PRESETS, Recipe

COUNT, SAMPLES = 24, 16000

# Nothing but speech, noise, ratio and level.
PLAIN = Recipe(
    clean_only=0, noise_only=0, speed=0, biquad=0, low_pass=0, clipping=0, room=0, babble=0,
    coloured=0, second=0, pausing=0, knock=0, change=0, level=(-38.0, -30.0),
)  # fmt: skip


def syllables(seed: int, seconds: float) -> np.ndarray:
    """Noise that comes and goes four times a second, as speech does."""
    random = np.random.default_rng(seed)
    time = np.arange(round(16000 * seconds)) / 16000
    return 0.2 * random.standard_normal(len(time)).clip(-4, 4) * np.sin(4 * np.pi * time) ** 2


SPEECH = SoundBank.of([syllables(n, 0.4 + n) for n in range(6)])
NOISE = SoundBank.of(
    [0.1 * np.random.default_rng(n).standard_normal(3000 * n) for n in range(1, 5)]
)


def mixer(recipe: Recipe = PLAIN, seed: int = 1, **change) -> Mixer:
    return Mixer(change.get("speech", SPEECH), change.get("noise", NOISE), recipe, seed)


def level(sound: torch.Tensor) -> float:
    meter = ActiveLevel(16000)
    meter.add(sound.numpy()[None])
    return meter.decibels()[0]


def test_a_batch_depends_on_seed_and_step_alone():
    noisy, clean = mixer(Recipe()).batch(7, COUNT, SAMPLES)
    again = mixer(Recipe())
    again.batch(3, COUNT, SAMPLES)
    assert all(map(torch.equal, again.batch(7, COUNT, SAMPLES), (noisy, clean)))
    assert not torch.equal(again.batch(8, COUNT, SAMPLES)[0], noisy)
    assert not torch.equal(mixer(Recipe(), seed=2).batch(7, COUNT, SAMPLES)[0], noisy)


@pytest.mark.parametrize("rows", [slice(0, 12), slice(12, 24), slice(1, None, 5), slice(23, 24)])
def test_a_share_of_the_batch_is_those_rows_of_it(rows):
    whole = mixer(Recipe()).batch(4, COUNT, SAMPLES)
    share = mixer(Recipe()).batch(4, COUNT, SAMPLES, rows=rows)
    for part, all_rows in zip(share, whole, strict=True):
        torch.testing.assert_close(part, all_rows[rows], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "recipe",
    [
        PLAIN,
        replace(PLAIN, babble=1),
        replace(PLAIN, coloured=1),
        replace(PLAIN, second=1),
        # In a long pause a room's tail falls through the floor of the meter, where levels jump.
        replace(PLAIN, speed=1, biquad=1, low_pass=1, room=1, speech_pause=(0.0, 0.1)),
    ],
)
def test_ratio_and_level_are_those_drawn(recipe):
    made = mixer(recipe)
    drawn = made.choices(0, COUNT, SAMPLES)
    for row, (noisy, clean) in enumerate(zip(*made.batch(0, COUNT, SAMPLES), strict=True)):
        assert level(noisy) == pytest.approx(drawn.level[row], abs=0.02)
        assert level(clean) - level(noisy - clean) == pytest.approx(drawn.snr[row], abs=0.1)


def test_clean_only_is_the_target_itself_and_noise_only_asks_for_silence():
    noisy, clean = mixer(replace(Recipe(), clean_only=1, clipping=0, knock=0)).batch(
        0, COUNT, SAMPLES
    )
    assert torch.equal(noisy, clean) and (clean.abs().amax(dim=1) > 0).all()
    noisy, clean = mixer(replace(Recipe(), noise_only=1, clean_only=0)).batch(0, COUNT, SAMPLES)
    assert not clean.any() and (noisy.abs().amax(dim=1) > 0).all()


def test_nothing_is_louder_than_full_scale_or_not_a_number():
    made = mixer(replace(Recipe(), level=(-6.0, 0.0), clipping=0.5, knock=1))
    for sound in made.batch(0, 64, SAMPLES):
        assert sound.dtype == torch.float32 and sound.shape == (64, SAMPLES)
        assert sound.isfinite().all() and sound.abs().max() <= 1


def test_silence_is_mixed_without_harm():
    silence = SoundBank.of([np.zeros(5000)])
    for change in ({"speech": silence}, {"noise": silence}, {"speech": silence, "noise": silence}):
        noisy, clean = mixer(**change).batch(0, 8, SAMPLES)
        assert noisy.isfinite().all() and clean.isfinite().all()
        assert clean.any() == ("speech" not in change)
        assert noisy.any() == (len(change) == 1)


def test_the_rest_of_a_noise_that_ended_is_not_blown_up():
    click = SoundBank.of([0.5 * np.random.default_rng(0).standard_normal(1600)])
    late = replace(PLAIN, pausing=1, noise_pause=(2.0, 2.0), candidates=1, biquad=1, low_pass=1)
    made = mixer(late, noise=click)
    absent = click.active_share(made.choices(0, 64, SAMPLES).noise, SAMPLES) == 0
    assert 16 < absent.sum() < 64
    noisy, clean = made.batch(0, 64, SAMPLES)
    added = noisy - clean
    assert not added[absent].any() and added[~absent].any(dim=1).all()


def test_a_telephone_passes_the_same_band_of_mixture_and_target():
    phone = replace(PLAIN, low_pass=1, cutoff=(3000.0, 3000.0), rise=(400.0, 400.0))
    frequency = torch.fft.rfftfreq(SAMPLES, 1 / 16_000)
    for high_pass in (0, 1):
        made = mixer(replace(phone, high_pass=high_pass))
        window = torch.hann_window(SAMPLES)
        for sound in made.batch(0, COUNT, SAMPLES):
            power = torch.fft.rfft(sound * window).abs().square()
            assert power[:, frequency > 3260].sum() < 1e-5 * power.sum()
            bass = power[:, frequency < 340].sum() / power.sum()
            assert bass < 1e-5 if high_pass else bass > 0.01


def test_clipping_spoils_the_mixture_only():
    made = mixer(replace(PLAIN, clipping=1))
    whole = mixer(PLAIN).batch(0, COUNT, SAMPLES)
    drawn = made.choices(0, COUNT, SAMPLES)
    noisy, clean = made.batch(0, COUNT, SAMPLES)
    assert torch.equal(clean, whole[1])
    ratio = noisy.abs().amax(dim=1) / whole[0].abs().amax(dim=1)
    np.testing.assert_allclose(ratio, drawn.clip, rtol=1e-4)


def test_a_knock_is_short_loud_and_in_the_mixture_only():
    recipe = replace(PLAIN, knock=1, knock_level=(20.0, 30.0), knock_decay=(0.0, 0.0))
    noisy, clean = mixer(replace(recipe, level=(-50.0, -45.0))).batch(0, COUNT, SAMPLES)
    whole = mixer(replace(PLAIN, level=(-50.0, -45.0))).batch(0, COUNT, SAMPLES)
    drawn = mixer(recipe).choices(0, COUNT, SAMPLES)
    assert torch.equal(clean, whole[1])
    for row, (amplitude, start, length, _) in enumerate(drawn.knocks):
        inside = slice(round(16000 * start), round(16000 * (start + length)))
        added = noisy[row] - whole[0][row]
        heard = added[inside].square().mean().sqrt()
        added[max(0, inside.start - 1) : inside.stop + 1] = 0
        assert not added.any()
        if inside.stop - inside.start > 1600 and inside.stop < SAMPLES:
            over = 20 * np.log10(float(heard)) - level(whole[0][row])
            assert over == pytest.approx(20 * np.log10(amplitude), abs=1.5)


@pytest.mark.parametrize("decibels", [-20.0, 20.0])
def test_from_some_moment_on_all_is_louder_or_fainter(decibels):
    recipe = replace(PLAIN, change=1, change_level=(decibels, decibels))
    whole = mixer().batch(0, COUNT, SAMPLES)
    changed = mixer(recipe).batch(0, COUNT, SAMPLES)
    drawn = mixer(recipe).choices(0, COUNT, SAMPLES)
    for row, (found, start) in enumerate(drawn.changes):
        assert found == decibels
        for sound, plain in zip(changed, whole, strict=True):
            before, after = slice(0, int(16000 * start)), slice(round(16000 * start) + 801, None)
            faint, loud = (after, before) if decibels < 0 else (before, after)
            torch.testing.assert_close(sound[row, loud], plain[row, loud])
            torch.testing.assert_close(sound[row, faint], 0.1 * plain[row, faint])


@pytest.mark.parametrize("measured", [0, 1])
def test_rooms_keep_the_speech_in_place_and_the_target_has_the_reverberation(measured):
    rooms = torch.zeros(2, 8000)
    rooms[:, 0] = 1
    rooms[:, 200::50] = 0.1
    recipe = replace(PLAIN, clean_only=1, measured=measured, direct=(0.0, 6.0))
    dry = Mixer(SPEECH, NOISE, recipe, 1, rooms).batch(0, COUNT, SAMPLES)[1]
    noisy, wet = Mixer(SPEECH, NOISE, replace(recipe, room=1), 1, rooms).batch(0, COUNT, SAMPLES)
    assert torch.equal(noisy, wet)
    spectra = torch.fft.rfft(torch.stack((dry, wet)), n=2 * SAMPLES)
    correlation = torch.fft.irfft(spectra[0].conj() * spectra[1])
    assert not correlation.argmax(dim=1).any()
    assert (correlation[:, 0] < 0.98 * dry.norm(dim=1) * wet.norm(dim=1)).all()


def test_crops_hold_as_much_speech_as_the_recipe_asks_for():
    mostly_silent = SoundBank.of([np.pad(syllables(0, 4.0), (0, 6 * 16000))])
    made = mixer(speech=mostly_silent)
    drawn = made.choices(0, 500, SAMPLES)
    assert np.mean(mostly_silent.active_share(drawn.speech, SAMPLES) >= 0.3) > 0.95


def test_choices_are_as_frequent_as_the_recipe_says():
    drawn = mixer(Recipe(), speech=SoundBank.of([syllables(n, 3.0) for n in range(30)]))
    drawn = drawn.choices(0, 4000, SAMPLES)
    shares = {
        0.70: drawn.kind == RECORDED,
        0.20: drawn.kind == BABBLE,
        0.10: drawn.kind == COLOURED,
        0.30: drawn.second_gain > 0,
        0.08: ~drawn.heard[:, 1],
        0.03: ~drawn.heard[:, 0],
        0.15: drawn.room > -2,
        0.02: drawn.clip < 1,
        0.5: drawn.speech.speed != 1,
    }
    rare = (0.10, drawn.knocks[:, 0] > 0), (0.15, drawn.changes[:, 0] != 0)
    for share, chosen in (*shares.items(), *rare):
        assert chosen.mean() == pytest.approx(share, abs=3 * (share * (1 - share) / 4000) ** 0.5)
    assert drawn.heard.any(axis=1).all()
    assert ((drawn.voices > 0).sum(axis=1) <= 8).all()
    # Nobody talks over himself.
    assert not np.any(
        (drawn.voices > 0) & (drawn.babble.recording == drawn.speech.recording[:, None])
    )


def test_nothing_waits_for_the_device():
    """A tensor on the meta device has no values: whoever asks for one is refused."""
    recipe = replace(Recipe(), room=0.5, clipping=0.5)
    banks = (replace(bank, samples=bank.samples.to("meta")) for bank in (SPEECH, NOISE))
    made = Mixer(*banks, recipe, 1, torch.zeros(2, 8000))
    for sound in made.batch(0, COUNT, SAMPLES):
        assert sound.is_meta and sound.shape == (COUNT, SAMPLES)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_same_batch():
    banks = (replace(bank, samples=bank.samples.to("cuda")) for bank in (SPEECH, NOISE))
    made = Mixer(*banks, Recipe(), 1).batch(5, COUNT, SAMPLES)
    for cpu, gpu in zip(mixer(Recipe()).batch(5, COUNT, SAMPLES), made, strict=True):
        torch.testing.assert_close(gpu.cpu(), cpu, atol=1e-4, rtol=1e-3)


# The original system: speech, one noise, a ratio.

CLIP = 40_800


def power(sound: torch.Tensor) -> torch.Tensor:
    return sound.double().square().mean(dim=1)


@pytest.mark.parametrize(("preset", "least", "most"), [("original", 0, 15), ("wide", -3, 27)])
def test_ratios_of_mean_powers_fill_the_range(preset, least, most):
    noisy, clean = mixer(PRESETS[preset]).batch(0, 200, CLIP)
    ratios = 10 * torch.log10(power(clean) / power(noisy - clean))
    assert least - 0.05 < ratios.min() < least + 1 and most - 1 < ratios.max() < most + 0.05
    assert max(noisy.abs().max(), clean.abs().max()) <= 1


def test_speech_keeps_the_level_it_was_recorded_at_unless_the_sum_exceeds_full_scale():
    speech = SoundBank.of([syllables(0, 4.0)] * 3)
    speech = replace(speech, gains=np.array([0.01, 1.0, 100.0]))
    made = mixer(PRESETS["original"], speech=speech)
    noisy, clean = made.batch(0, 60, CLIP)
    which = made.choices(0, 60, CLIP).speech.recording
    for number, gain in enumerate(speech.gains):
        peaks = clean[which == number].abs().amax(dim=1)
        if gain < 1:
            assert (peaks < 0.01).all()
        elif gain == 1:
            assert ((peaks > 0.4) & (peaks < 0.85)).all()
        else:  # turned down with the mixture, to full scale
            loud = noisy[which == number].abs().amax(dim=1).maximum(peaks)
            torch.testing.assert_close(loud, torch.full_like(loud, 0.999))


def test_short_speech_stands_once_in_silence_and_short_noise_goes_round():
    tone = 0.5 * np.sin(np.arange(20_000) / 5)
    noise = 0.1 * np.random.default_rng(0).standard_normal(7_001)
    banks = {"speech": SoundBank.of([tone]), "noise": SoundBank.of([noise])}
    noisy, clean = mixer(PRESETS["original"], **banks).batch(0, 20, CLIP)
    period = int(banks["noise"].lengths[0])
    places = set()
    for row in range(20):
        (inside,) = clean[row].nonzero(as_tuple=True)
        assert 19_900 < inside[-1] - inside[0] < 20_000
        places.add(int(inside[0]))
        added = noisy[row] - clean[row]
        torch.testing.assert_close(added[period:], added[:-period], atol=1e-5, rtol=0)
    assert len(places) > 10 and min(places) < 5_000 and max(places) > 15_000


def test_long_speech_is_cut_from_inside_its_recording():
    ramp = np.linspace(0.1, 0.9, 3 * CLIP) * np.where(np.arange(3 * CLIP) % 2, 1, -1)
    _, clean = mixer(PRESETS["original"], speech=SoundBank.of([ramp])).batch(0, 40, CLIP)
    loudness = clean.abs()[:, 100:-100]
    assert (loudness[:, 1000:] > loudness[:, :-1000]).all()  # never round the end


def test_in_turn_every_recording_is_visited_once_a_lap_in_new_orders():
    made = Mixer(SPEECH, NOISE, PRESETS["original"], 1, in_turn=True)
    heard = np.concatenate([made.choices(step, 4, CLIP).speech.recording for step in range(6)])
    laps = heard.reshape(4, 6)
    assert (np.sort(laps) == np.arange(6)).all()
    assert len({tuple(lap) for lap in laps}) > 1
