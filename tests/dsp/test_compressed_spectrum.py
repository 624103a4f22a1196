"""The compressed spectrum and its loss: against the loss spelled out for autograd, by finite
differences, without speech, and at any level."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audio_denoising.dsp import compressed_spectrum as spectrum
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.models.twin import spectrum_loss

HOP = 256
TRANSFORM = HalfOverlap(dtype=torch.float64)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )  # fmt: skip


def batch(frames: int, clips: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Masks around 1, mixtures and clean waveforms of different levels."""
    samples = (frames + 1) * HOP
    levels = torch.logspace(-2.5, -0.5, clips, dtype=torch.float64)[:, None]
    clean = random(clips, samples, seed=1) * levels
    noisy = clean + 0.3 * random(clips, samples, seed=2) * levels
    mask = 0.5 + 0.4 * random(frames, clips, 64, 8, seed=3)
    return mask, noisy, clean


def ours(
    mask: Tensor, noisy: Tensor, clean: Tensor, perceptual: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Value and gradient."""
    with torch.inference_mode():
        loss = spectrum.CompressedSpectrumLoss(TRANSFORM, perceptual)
        value = loss(mask, spectrum.hear(noisy, TRANSFORM), clean)
        return value, loss.backward()


def theirs(
    mask: Tensor, noisy: Tensor, clean: Tensor, perceptual: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Value and gradient of the twin, by autograd."""
    leaf = mask.clone().requires_grad_()
    value = spectrum_loss(leaf, noisy, clean, perceptual)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def assert_equal(arguments: tuple[Tensor, Tensor, Tensor], perceptual: float = 0.0) -> None:
    for found, expected in zip(
        ours(*arguments, perceptual), theirs(*arguments, perceptual), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)


def test_compression_keeps_phases_and_is_undone() -> None:
    x = torch.view_as_complex(random(4, 2, 256, 2, seed=1))
    small = spectrum.compress(x)
    torch.testing.assert_close(small.angle(), x.angle())
    torch.testing.assert_close(small.abs(), x.abs() ** 0.3)
    torch.testing.assert_close(spectrum.decompress(small), x)
    nothing = torch.zeros(3, dtype=torch.complex128)
    assert torch.equal(spectrum.decompress(spectrum.compress(nothing)), nothing)


def test_features_and_masks_hold_four_bins_a_place() -> None:
    noisy = random(2, 5 * HOP, seed=1)
    heard = spectrum.hear(noisy, TRANSFORM)
    assert heard.features.shape == (4, 2, 64, 12)
    expected = heard.compressed[1, 0, 4 * 7 + 2]  # third bin of the eighth place
    evening = spectrum.evening(TRANSFORM.analyse(noisy)[..., :256])[1, 0, 0]
    real, imaginary, modulus = heard.features[1, 0, 7, 6:9] / evening
    assert complex(real, imaginary) == pytest.approx(complex(expected))
    assert float(modulus) == pytest.approx(abs(complex(expected)))
    mask = random(4, 2, 64, 8, seed=2)
    at = spectrum.as_complex(mask)[1, 0, 4 * 7 + 2]
    assert complex(at) == pytest.approx(complex(*mask[1, 0, 7, 4:6]))


def test_a_mask_of_one_gives_the_mixture_back() -> None:
    """But for what lies above the highest bin that is heard, at the Nyquist frequency."""
    noisy = random(2, 9 * HOP, seed=1)
    one = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(4).expand(8, 2, 64, 8)
    found = spectrum.sound(one, spectrum.hear(noisy, TRANSFORM), TRANSFORM)
    missing = TRANSFORM.analyse(noisy)
    missing[..., :-1] = 0
    found = found + TRANSFORM.synthesise(missing)
    torch.testing.assert_close(found[:, HOP:-HOP], noisy[:, HOP:-HOP])


@pytest.mark.parametrize("perceptual", [0.0, 2.0])
@pytest.mark.parametrize(("frames", "clips"), [(2, 1), (3, 2), (20, 3)])
def test_loss_and_gradient_against_autograd(frames: int, clips: int, perceptual: float) -> None:
    assert_equal(batch(frames, clips), perceptual)


@pytest.mark.parametrize("silent", [[0], [0, 1]], ids=str)
def test_clips_without_speech(silent: list[int]) -> None:
    """They count in the spectral term, with weight 1, and not in that of the waveform."""
    mask, noisy, clean = batch(6)
    clean[silent] = 0
    assert_equal((mask, noisy, clean))
    assert bool(ours(mask, noisy, clean)[1][:, silent].abs().sum() > 0)  # noise is to be removed
    _, gradient = ours(mask, torch.zeros_like(noisy), torch.zeros_like(clean))
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_a_mask_of_zero_or_the_truth_has_a_finite_gradient(at: float) -> None:
    mask, _, clean = batch(6)
    mask = torch.zeros_like(mask)
    mask[..., ::2] = at
    assert_equal((mask, clean, clean))


@pytest.mark.parametrize("gain", [0.2, 4.0])
def test_the_loss_is_level_free(gain: float) -> None:
    mask, noisy, clean = batch(6, clips=1)
    clean, noisy = (10 * wave for wave in (clean, noisy))  # -30 dB: its weight is not at a bound
    (value, gradient), (other, turned) = (
        ours(mask, noisy, clean),
        ours(mask, gain * noisy, gain * clean),
    )
    torch.testing.assert_close(other, value)
    torch.testing.assert_close(turned, gradient)


def test_how_loud_it_has_been_lately() -> None:
    """Frame by frame: silence does not count, and fades nothing but the weight of what did."""
    roots = torch.tensor([0, 0.002, 3, 5, 0, 0, 40, 2, 2], dtype=torch.float64)
    x = torch.view_as_complex(random(9, 1, 256, 2, seed=1))
    x = x / x.abs().square().sum(-1, keepdim=True).sqrt() * roots[:, None, None]
    fading, wanted = 1 - 0.016 / 1.5, []
    past: list[tuple[float, float]] = []
    for root in roots.tolist():
        past = [(fading * a, fading * b) for a, b in past]
        past.append((root**0.3, 1.0) if root**0.3 > 0.16 else (0.0, 0.0))
        lately = (1.6e-5 + sum(a for a, _ in past)) / (1e-4 + sum(b for _, b in past))
        wanted.append(1.4 / lately)
    found = spectrum.evening(torch.cat((x, 7 * x), 1))
    torch.testing.assert_close(found[:, 0, 0], torch.tensor(wanted, dtype=torch.float64))
    assert found[4, 0] == pytest.approx(float(found[3, 0]), rel=1e-3)


def test_a_louder_recording_is_the_same_to_the_network() -> None:
    _, noisy, _ = batch(9)
    found = [spectrum.hear(gain * noisy, TRANSFORM).features for gain in (1.0, 100.0)]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("mask", "clean"), [((3, 2, 64, 8), (1, 4 * HOP)), ((3, 1, 64, 8), (2, 4 * HOP))], ids=str
)
def test_shapes_that_would_broadcast_are_refused(
    mask: tuple[int, ...], clean: tuple[int, ...]
) -> None:
    heard = spectrum.hear(random(2, 4 * HOP, seed=1), TRANSFORM)
    loss = spectrum.CompressedSpectrumLoss(TRANSFORM)
    with pytest.raises(ValueError, match="^CompressedSpectrumLoss takes "):
        loss(random(*mask, seed=2), heard, random(*clean, seed=3))


@pytest.mark.parametrize("samples", [0, 3 * HOP + 1])
def test_a_waveform_of_other_than_whole_blocks_is_refused(samples: int) -> None:
    with pytest.raises(ValueError, match=r"takes \(N, \(T \+ 1\) 256\) and got \(2, "):
        TRANSFORM.analyse(torch.zeros(2, samples, dtype=torch.float64))
