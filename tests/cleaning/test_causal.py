"""v5's stream: any rate, any blocks, the same samples, none lost, none late."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from audio_denoising import nn
from audio_denoising.cleaning.causal import CausalCleaner, CausalStream
from audio_denoising.dsp.compressed_spectrum import hear
from audio_denoising.dsp.stft import HalfOverlap
from audio_denoising.errors import UserError
from audio_denoising.models.causal_start import build
from audio_denoising.models.causal_weights import folded
from audio_denoising.samples import Samples


@pytest.fixture(scope="module")
def cleaner() -> CausalCleaner:
    """An untrained network whose masks differ from bin to bin and from frame to frame."""
    with torch.inference_mode():
        torch.manual_seed(1)
        network = build("small")
        head = [m for m in network.modules() if isinstance(m, nn.FrequencyConv)][-1]
        head.weight.data *= 20
        network.train()
        for _ in range(3):
            network(torch.randn(20, 2, 64, 12))
        return CausalCleaner(folded(network.state_dict()), "v5")


def noise(rate: int, channels: int, seconds: float = 0.5) -> Samples:
    return np.random.default_rng(rate).normal(0, 0.1, (channels, int(rate * seconds) + 77)).astype(
        np.float32
    )  # fmt: skip


def cleaned(cleaner: CausalCleaner, blocks: list[Samples], rate: int) -> tuple[Samples, Samples]:
    parts = list(cleaner.clean(blocks, rate, None, lambda seconds: None))
    return tuple(np.concatenate(side, axis=1) for side in zip(*parts, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [2_000, 11_025, 16_000, 48_000, 192_000])
def test_any_cutting_gives_the_samples_of_one_block(
    cleaner: CausalCleaner, rate: int, channels: int
) -> None:
    signal = noise(rate, channels)
    noisy, whole = cleaned(cleaner, [signal], rate)
    assert np.array_equal(noisy, signal)
    hop = round(0.016 * rate)
    random = np.random.default_rng(0).integers(0, signal.shape[1], 9)
    for places in ([1, 2, 3], sorted(random), range(hop, signal.shape[1], hop)):
        noisy, pieces = cleaned(cleaner, np.split(signal, list(places), axis=1), rate)
        assert np.array_equal(noisy, signal)
        assert np.array_equal(pieces, whole)
    assert np.std(whole) > 0.1 * np.std(signal)  # there was something to compare


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_nothing_is_late_and_nothing_louder(rate: int) -> None:
    """With the untrained network every bin is turned down alike: the signal stays, at its place."""
    network = build("small")
    head = [m for m in network.modules() if isinstance(m, nn.FrequencyConv)][-1]
    head.weight.data.zero_()
    even = CausalCleaner(folded(network.state_dict()), "v5")
    signal = noise(rate, 1)
    _, clean = cleaned(even, [signal], rate)
    gain = np.tanh(1.0) ** 3
    assert np.abs(clean - gain * signal).max() < 1e-5


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_level_in_is_level_out(cleaner: CausalCleaner, rate: int) -> None:
    signal = noise(rate, 2) * np.array([[1], [0.1]], np.float32)
    _, wanted = cleaned(cleaner, [signal], rate)
    for gain in (0.03, 10):
        _, found = cleaned(cleaner, [signal * np.float32(gain)], rate)
        assert np.abs(found / gain - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_the_stream_hears_what_training_hears(cleaner: CausalCleaner) -> None:
    """Sound, silence and faint sound, as `dsp.compressed_spectrum` makes features of it."""
    hop, stream = 256, cleaner.open(16_000)
    signal = noise(16_000, 1, 2.0)[:, : 100 * hop]
    signal[:, 20 * hop : 50 * hop] = 0
    signal[:, 70 * hop :] *= 0.01
    padded = np.pad(signal, ((0, 0), (hop, 0)))
    wanted = hear(torch.from_numpy(padded), HalfOverlap()).features.numpy()
    for place, expected in enumerate(wanted[:, 0]):
        stream.push(signal[:, place * hop : (place + 1) * hop])
        found = stream._cleaners[0].network.features
        assert np.abs(found - expected).max() < 1e-4 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("length", [0, 1, 256, 257, 512])
def test_short_signals_keep_their_length(cleaner: CausalCleaner, length: int) -> None:
    parts = list(cleaner.clean([np.full((1, length), 0.1, np.float32)], 16_000, None, print))
    assert sum(clean.shape[1] for _, clean in parts) == length


def test_silence_stays_silent(cleaner: CausalCleaner) -> None:
    _, clean = cleaned(cleaner, [np.zeros((2, 5_000), np.float32)], 16_000)
    assert not clean.any()


def test_channels_do_not_hear_each_other(cleaner: CausalCleaner) -> None:
    signal = noise(16_000, 2)
    _, both = cleaned(cleaner, [signal], 16_000)
    for channel in range(2):
        _, alone = cleaned(cleaner, [signal[channel : channel + 1]], 16_000)
        assert np.array_equal(alone[0], both[channel])


def test_output_depends_on_nothing_to_come(cleaner: CausalCleaner) -> None:
    signal = noise(16_000, 1)
    other = signal.copy()
    other[:, 4_000:] = 0.5
    stream = cleaner.open(16_000)
    latency = stream.latency
    _, first = cleaned(cleaner, [signal], 16_000)
    _, second = cleaned(cleaner, [other], 16_000)
    assert np.abs(first - second)[:, : 4_000 - latency].max() < 1e-6
    assert np.abs(first - second)[:, 4_000:].max() > 1e-2


def test_output_is_at_most_one_window_late(cleaner: CausalCleaner) -> None:
    stream = cleaner.open(16_000)
    given = got = 0
    for block in np.array_split(noise(16_000, 1), 40, axis=1):
        given += block.shape[1]
        got += stream.push(block)[1].shape[1]
        assert given - got < stream.latency
    assert got + stream.flush()[1].shape[1] == given


def test_reset_begins_anew(cleaner: CausalCleaner) -> None:
    stream = cleaner.open(16_000)
    signal = noise(16_000, 1)
    first = np.concatenate((stream.push(signal)[1], stream.flush()[1]), axis=1)
    stream.push(0.5 * signal[:, :3_000])
    stream.reset()
    again = np.concatenate((stream.push(signal)[1], stream.flush()[1]), axis=1)
    assert np.array_equal(first, again)


def test_streams_of_one_network_run_side_by_side(cleaner: CausalCleaner) -> None:
    signals = {rate: noise(rate, 1) for rate in (8_000, 16_000, 48_000)}

    def work(rate: int) -> Samples:
        return cleaned(cleaner, np.array_split(signals[rate], 20, axis=1), rate)[1]

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(work, signals))
    for (rate, signal), found in zip(signals.items(), together, strict=True):
        assert np.array_equal(found, cleaned(cleaner, [signal], rate)[1])


def test_bad_input_is_told_of_and_loses_nothing(cleaner: CausalCleaner) -> None:
    signal = noise(16_000, 1)
    stream = cleaner.open(16_000)
    first = stream.push(signal[:, :3_000])[1]
    broken = signal[:, 3_000:].copy()
    broken[0, 200] = np.nan
    with pytest.raises(UserError, match=r"sample 3200 \(0\.200 s\) is not a number"):
        stream.push(broken)
    with pytest.raises(UserError, match="this stream has 1 channels"):
        stream.push(np.zeros((2, 10), np.float32))
    last = (stream.push(signal[:, 3_000:])[1], stream.flush()[1])
    rest = np.concatenate((first, *last), axis=1)
    assert np.array_equal(rest, cleaned(cleaner, [signal], 16_000)[1])


@pytest.mark.parametrize("rate", [1_999, 192_001])
def test_rates_that_v5_does_not_hear_are_refused(cleaner: CausalCleaner, rate: int) -> None:
    with pytest.raises(UserError, match=f"not of {rate}"):
        CausalStream(cleaner.weights, rate)
