"""The perceptual term: against its definition for autograd, by finite differences, in silence, at
any level, and beside PESQ itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from audio_denoising.dsp.loudness import LoudnessLoss, bark
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.models.twin import loudness_loss

TRANSFORM = HalfOverlap(dtype=torch.float64)


def voice(seconds: float, seed: int = 0) -> Tensor:
    """Something like speech: harmonics under moving formants, in syllables, with pauses."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 62.5) * 256) / 16000
    pitch = 120 + 25 * np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    formants = [(500, 150, 1.3), (1500, 500, 0.9), (2600, 300, 1.7)]
    wave = np.zeros_like(time)
    for number in range(1, 40):
        gain = sum(
            np.exp(-(((number * pitch - at - by * np.sin(2 * np.pi * rate * time)) / 160) ** 2))
            for at, by, rate in formants
        )
        wave += (gain + 0.02) * np.sin(number * phase) / number**0.5
    beats = np.clip(np.sin(2 * np.pi * 2.3 * time + rng.uniform(0, 6)) + 0.4, 0, 1)
    return torch.from_numpy(0.05 * wave * beats)


def power(waves: Tensor) -> Tensor:
    return TRANSFORM.analyse(waves)[..., :256].abs().square()


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )  # fmt: skip


def spoken(frames: int) -> tuple[Tensor, Tensor]:
    clean = torch.stack([voice(4, 1), 0.1 * voice(4, 2)])[:, 8192 : 8192 + (frames + 1) * 256]
    mask = 1 + 0.5 * noise(frames, 2, 256, seed=2)
    added = 0.01 * noise(*clean.shape, seed=1) * clean.std(1, keepdim=True)
    return power(clean + added) * mask.square(), power(clean)


def drawn(frames: int) -> tuple[Tensor, Tensor]:
    return noise(frames, 2, 256, seed=3).square(), noise(frames, 2, 256, seed=4).square()


@pytest.mark.parametrize("frames", [1, 12, 20, 75])
@pytest.mark.parametrize("of", [spoken, drawn])
def test_value_and_gradient_against_autograd(of: object, frames: int) -> None:
    estimate, clean = of(frames)  # type: ignore[operator]
    leaf = estimate.clone().requires_grad_()
    expected = loudness_loss(leaf, clean)
    expected.backward()
    with torch.inference_mode():
        loss = LoudnessLoss(torch.float64)
        torch.testing.assert_close(loss(estimate, clean), expected.detach(), rtol=1e-9, atol=0)
        found = loss.backward()
    assert leaf.grad is not None
    assert float((found - leaf.grad).norm() / leaf.grad.norm()) < 1e-9


def test_finite_differences() -> None:
    estimate, clean = spoken(40)
    loss = LoudnessLoss(torch.float64)
    loss(estimate, clean)
    gradient = loss.backward()
    for seed in range(4):
        step = noise(*estimate.shape, seed=seed) * estimate
        ahead, behind = (loss(estimate + by * 1e-6 * step, clean) for by in (1, -1))
        difference = (ahead - behind) / 2e-6
        torch.testing.assert_close((gradient * step).sum(), difference, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_silence_and_perfection_have_no_gradient_and_no_speech_no_loss(dtype: torch.dtype) -> None:
    loss, clean = LoudnessLoss(dtype), power(voice(1)[None]).to(dtype)
    none = torch.zeros_like(clean)
    for estimate, target in ((clean, clean), (none, none), (clean, none)):
        assert float(loss(estimate, target)) == 0
        assert torch.equal(loss.backward(), none)
    assert 3 < float(loss(none, clean)) < 4.5 + 1.5  # all is lost
    assert bool(loss.backward().isfinite().all())


@pytest.mark.parametrize("gain", [0.3, 50.0])
def test_the_level_of_a_clip_does_not_count(gain: float) -> None:
    estimate, clean = spoken(40)
    loss = LoudnessLoss(torch.float64)
    torch.testing.assert_close(
        loss(gain * estimate, gain * clean), loss(estimate, clean)
    )  # fmt: skip


def test_what_is_added_hurts_more_than_what_is_lost() -> None:
    clean = power(voice(2)[None])
    loss = LoudnessLoss(torch.float64)
    high = slice(100, 140)
    more, less = clean.clone(), clean.clone()
    more[..., high] *= 10
    less[..., high] /= 10
    assert float(loss(more, clean)) > float(loss(less, clean)) > 0


def test_bands_hold_every_bin_but_dc_once() -> None:
    loss = LoudnessLoss(torch.float64)
    assert torch.equal((loss.bands > 0).sum(1), torch.tensor([0] + 255 * [1]))
    assert float(loss.widths.sum()) == pytest.approx(
        float(bark(torch.tensor(7984.375)) - bark(torch.tensor(15.625)))
    )


def test_it_orders_real_damage_as_pesq_does() -> None:
    """Noise of four colours and levels, gaps, holes in the spectrum, a dull or a loud sound."""
    pesq = pytest.importorskip("pesq").pesq
    damaged = []
    for seed in range(2):
        clean = voice(3, seed)
        spectra = TRANSFORM.analyse(clean[None])
        for number, level in itertools.product(range(3), (0.002, 0.01, 0.04)):
            white = noise(*clean.shape, seed=10 * seed + number)
            if number:
                tilt = torch.fft.rfft(white)
                ramp = torch.linspace(0.02, 1, len(tilt), dtype=torch.float64)
                white = torch.fft.irfft(tilt * ramp ** (3 - 2 * number), len(clean))
            damaged.append((clean, clean + level * white / white.std()))
        for keep in (0.9, 0.7, 0.4):
            holes = (noise(*spectra.shape, seed=seed).abs() < 2 * keep).double()
            damaged.append((clean, TRANSFORM.synthesise(spectra * holes)[0]))
        for top in (60, 120):
            dull = spectra.clone()
            dull[..., top:] = 0
            damaged.append((clean, TRANSFORM.synthesise(dull)[0]))
    scores = [pesq(16000, clean.numpy(), wave.numpy(), "wb") for clean, wave in damaged]
    loss = LoudnessLoss(torch.float64)
    lost = [float(loss(power(wave[None]), power(clean[None]))) for clean, wave in damaged]
    ranks = [np.argsort(np.argsort(each)) for each in (scores, [-each for each in lost])]
    assert np.corrcoef(*ranks)[0, 1] > 0.8
