"""Cutting into windows and joining again: nothing is lost, nothing shifts, levels add up to one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_denoising.dsp.overlap import overlap_add, window_count
from audio_denoising.dsp.spectrum import SEGMENT


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 700),
    channels=st.integers(0, 3),
    half=st.integers(1, 60),
    batch_size=st.integers(1, 9),
)
def test_doing_nothing_gives_the_signal_back(
    length: int, channels: int, half: int, batch_size: int
) -> None:
    signal = noise(channels, length)
    seen: list[int] = []

    def nothing(windows: torch.Tensor) -> torch.Tensor:
        seen.append(len(windows))
        assert windows.shape[1] == 2 * half
        return windows.clone()

    joined = overlap_add(signal, nothing, size=2 * half, batch_size=batch_size)
    assert joined.shape == signal.shape
    assert torch.allclose(joined, signal, rtol=1e-6, atol=1e-8)
    assert sum(seen) == channels * window_count(length, 2 * half)
    assert all(n <= batch_size for n in seen)


@pytest.mark.parametrize("length", [1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT + 7])
def test_the_slopes_sum_to_one_up_to_both_ends(length: int) -> None:
    joined = overlap_add(torch.zeros(1, length), torch.ones_like)
    assert torch.allclose(joined, torch.ones(1, length), rtol=0, atol=2e-7)


@pytest.mark.parametrize(
    ("length", "count"),
    [(0, 0), (1, 1), (100, 1), (101, 2), (150, 2), (151, 3)],
)
def test_window_count(length: int, count: int) -> None:
    assert window_count(length, 100) == count


def test_the_end_is_mirrored_not_zeroed() -> None:
    windows: list[torch.Tensor] = []

    def keep(batch: torch.Tensor) -> torch.Tensor:
        windows.append(batch)
        return batch

    overlap_add(torch.tensor([[1.0, 2.0, 3.0]]), keep, size=8)
    assert windows[0].tolist() == [[1, 2, 3, 3, 2, 1, 1, 2]]


def test_progress_counts_every_window_once() -> None:
    calls: list[tuple[int, int]] = []
    overlap_add(
        noise(2, 500),
        lambda w: w,
        size=100,
        batch_size=4,
        progress=lambda d, n: calls.append((d, n)),
    )
    assert calls == [(4, 18), (8, 18), (12, 18), (16, 18), (18, 18)]


def test_channels_do_not_mix() -> None:
    signal = torch.cat((torch.zeros(1, 400), noise(1, 400)))
    joined = overlap_add(signal, lambda w: 2 * w, size=100, batch_size=3)
    assert float(joined[0].abs().max()) == 0.0
    assert torch.allclose(joined[1], 2 * signal[1], rtol=1e-6)
