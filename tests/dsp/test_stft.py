"""The half-overlapped transform: exact in both directions, torch's own, and its adjoint."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audio_denoising.dsp.frames import hop_at
from audio_denoising.dsp.stft import HalfOverlap

HOPS = [256, 128, 706, 768, 1]  # 16, 8, 44.1 and 48 kHz, and the smallest
hops = pytest.mark.parametrize("hop", HOPS)


def signals(hop: int, blocks: int, seed: int = 1) -> Tensor:
    """Two noises (2, blocks * hop)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, blocks * hop, dtype=torch.float64, generator=generator)


def transform(hop: int) -> HalfOverlap:
    return HalfOverlap(hop, torch.float64)


@pytest.mark.parametrize(
    ("rate", "hop"), [(16000, 256), (8000, 128), (44100, 706), (48000, 768), (11025, 176)]
)
def test_bins_lie_31_hz_apart_at_every_rate(rate: int, hop: int) -> None:
    at = HalfOverlap(hop_at(rate))
    assert at.hop == hop
    assert rate / at.size == pytest.approx(31.25, rel=3e-3)
    # A tone of 1 kHz of the same amplitude is bin 32 of the same size.
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8 * hop) / rate)
    size = at.analyse(tone[None]).abs()[3, 0]
    assert int(size.argmax()) == 32
    assert float(size[32]) == pytest.approx(128, rel=0.02)


@hops
@pytest.mark.parametrize("blocks", [2, 3, 9])
def test_reconstruction_is_perfect(hop: int, blocks: int) -> None:
    x = signals(hop, blocks)
    padded = torch.nn.functional.pad(x, (hop, hop))
    found = transform(hop).synthesise(transform(hop).analyse(padded))
    torch.testing.assert_close(found[:, hop:-hop], x, rtol=1e-12, atol=1e-12)
    short = transform(hop).synthesise(transform(hop).analyse(x))  # its inner blocks need no padding
    torch.testing.assert_close(short[:, hop:-hop], x[:, hop:-hop], rtol=1e-12, atol=1e-12)


@hops
def test_both_directions_are_those_of_torch(hop: int) -> None:
    x, window = signals(hop, 7), torch.hann_window(2 * hop, dtype=torch.float64)
    expected = torch.stft(x, 2 * hop, hop, window=window, center=False, return_complex=True)
    scale = 256 / hop  # spectra have the size of those at 16 kHz
    found = transform(hop).analyse(x) / scale
    torch.testing.assert_close(found.permute(1, 2, 0), expected)
    moved = expected * torch.linspace(0, 1, hop + 1)[:, None]
    back = transform(hop).synthesise(moved.permute(2, 0, 1) * scale)
    torch.testing.assert_close(
        back[:, hop:-hop], torch.istft(moved, 2 * hop, hop, window=window), rtol=1e-9, atol=1e-12
    )


@hops
@pytest.mark.parametrize("blocks", [2, 6])
def test_the_adjoint_has_the_same_dot_product(hop: int, blocks: int) -> None:
    """<A X, g> = <X, A* g>, and every entry of A* g by autograd."""
    generator = torch.Generator().manual_seed(3)
    parts = torch.randn(blocks - 1, 2, hop + 1, 2, dtype=torch.float64, generator=generator)
    gradient = signals(hop, blocks, seed=4)
    leaf = torch.view_as_complex(parts).requires_grad_()
    waves = transform(hop).synthesise(leaf)
    waves.backward(gradient)
    adjoint = transform(hop).synthesise_adjoint(gradient)
    product = (torch.view_as_real(adjoint) * parts).sum()
    torch.testing.assert_close((waves.detach() * gradient).sum(), product)
    assert leaf.grad is not None
    torch.testing.assert_close(adjoint, leaf.grad, rtol=1e-10, atol=1e-12)
