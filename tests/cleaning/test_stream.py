"""`Denoiser.stream`: what a program that hears live sound relies on."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audio_denoising import Denoiser, UserError
from audio_denoising.media.reading import read_audio


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return Denoiser("v5", device="cpu")


def signal(rate: int, channels: int = 1, seconds: float = 0.4) -> np.ndarray:
    shape = (int(rate * seconds) + 31,) if channels == 1 else (channels, int(rate * seconds) + 31)
    return np.random.default_rng(rate).normal(0, 0.1, shape).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_any_cutting_gives_what_the_whole_and_the_file_give(
    denoiser: Denoiser, rate: int, channels: int, tmp_path: Path
) -> None:
    x = signal(rate, channels)
    whole = denoiser(x, rate, strength=80, limit=20)
    soundfile.write(tmp_path / "a.wav", x.T, rate, "FLOAT")
    denoiser.denoise_file(tmp_path / "a.wav", tmp_path / "b.wav", strength=80, limit=20)
    of_the_file = read_audio(tmp_path / "b.wav")[0].reshape(x.shape)
    assert np.array_equal(of_the_file, whole)

    @settings(max_examples=10, deadline=None, derandomize=True, database=None)
    @given(st.lists(st.integers(0, x.shape[-1]), max_size=40).map(sorted))
    @example([])
    @example([1, 2, 3])
    @example(list(range(480, x.shape[-1], 480)))
    def cut(places: list[int]) -> None:
        with denoiser.stream(rate, channels, strength=80, limit=20) as stream:
            returned, pushed = 0, 0
            parts = []
            for block in np.split(x, places, axis=-1):
                parts.append(stream.push(block))
                pushed, returned = pushed + block.shape[-1], returned + parts[-1].shape[-1]
                assert 0 <= pushed - returned <= stream.latency
            parts.append(stream.flush())
        pieces = np.concatenate(parts, axis=-1)
        assert pieces.shape == x.shape
        assert np.array_equal(pieces, whole)

    cut()


def test_it_goes_on_after_a_pickle_and_begins_anew_after_a_reset(denoiser: Denoiser) -> None:
    x = signal(16_000)
    stream = denoiser.stream(16_000)
    first = stream.push(x[:3000])
    copy = pickle.loads(pickle.dumps(stream))
    rest = [np.concatenate((s.push(x[3000:]), s.flush())) for s in (stream, copy)]
    assert np.array_equal(*rest)
    stream.push(x[:777])
    stream.reset()
    again = np.concatenate((stream.push(x), stream.flush()))
    assert np.array_equal(again, np.concatenate((first, rest[0])))


def test_streams_do_not_hear_of_each_other(denoiser: Denoiser) -> None:
    signals = [signal(16_000), 0.1 * signal(16_000)]
    streams = [denoiser.stream(16_000) for _ in signals]
    first = [stream.push(x[:3000]) for stream, x in zip(streams, signals, strict=True)]
    second = [stream.push(x[3000:]) for stream, x in zip(streams, signals, strict=True)]
    for x, stream, *parts in zip(signals, streams, first, second, strict=True):
        assert np.array_equal(np.concatenate((*parts, stream.flush())), denoiser(x, 16_000))


def test_it_gives_back_the_kind_it_takes(denoiser: Denoiser) -> None:
    stream = denoiser.stream(16_000, 2)
    tensor = torch.zeros(2, 600, dtype=torch.float64)
    out = stream.push(tensor)
    assert isinstance(out, torch.Tensor) and out.dtype == torch.float64 and out.shape == (2, 256)
    assert denoiser.stream(16_000).push(np.zeros(512, np.int16)).dtype == np.int16


def test_what_it_refuses(denoiser: Denoiser) -> None:
    stream = denoiser.stream(16_000)
    x = signal(16_000)
    parts = [stream.push(x[:1000])]
    broken = x[1000:1100].copy()
    broken[7] = np.nan
    for wrong in (broken, np.zeros((2, 100), np.float32), "sound"):
        with pytest.raises(UserError):
            stream.push(wrong)  # type: ignore[type-var]
    parts += [stream.push(x[1000:]), stream.flush()]  # nothing of it was lost
    assert np.array_equal(np.concatenate(parts), denoiser(x, 16_000))
    for rate, channels in ((1_000, 1), (200_000, 1), (16_000, 0)):
        with pytest.raises(UserError):
            denoiser.stream(rate, channels)
    with pytest.raises(UserError, match="v4-small hears windows.*take the model v5"):
        Denoiser("v4", device="cpu").stream(16_000)
