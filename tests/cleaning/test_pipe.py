"""Pipes: what comes in and goes out, with a header or bare."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising.cleaning.pipe import Raw, pour, spool
from audio_denoising.errors import UserError

PCM = np.random.default_rng(0).integers(-(2**15), 2**15, (1000, 2)).astype("<i2")


class Dribble(io.BytesIO):
    """A pipe that gives an odd number of bytes at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or -1, 333) if size and size > 0 else size)


def test_bare_samples_come_and_go_unchanged(tmp_path: Path) -> None:
    path = spool(Dribble(PCM.tobytes()), tmp_path, Raw.parse("48000,2"))
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == 48_000 and np.array_equal(samples, PCM)
    out = io.BytesIO()
    pour(path, out, bare=True)
    assert out.getvalue() == PCM.tobytes()


def test_a_file_comes_and_goes_unchanged(tmp_path: Path) -> None:
    out = io.BytesIO()
    pour(spool(Dribble(b"any format" * 1000), tmp_path), out)
    assert out.getvalue() == b"any format" * 1000


def test_a_sample_cut_in_two(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in the middle of a sample.*2 channel"):
        spool(io.BytesIO(PCM.tobytes()[:-1]), tmp_path, Raw(48_000, 2))


@pytest.mark.parametrize("text", ["48000", "48000,0", "1,2,3", "a,b", "48000,-1", "5,1"])
def test_a_description_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match=r"not RATE,CHANNELS|sample rate"):
        Raw.parse(text)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (BrokenPipeError(), "stopped before its end"),
        (OSError(28, "No space"), r"written \(No space"),
    ],
)
def test_a_reader_that_stops(error: OSError, sentence: str, tmp_path: Path) -> None:
    class Closed(io.BytesIO):
        def write(self, data: object) -> int:
            raise error

    with pytest.raises(UserError, match=sentence):
        pour(spool(io.BytesIO(b"x"), tmp_path), Closed())
