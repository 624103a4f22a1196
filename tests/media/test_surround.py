"""Odd orders of the loudspeakers; the matrix passes tones through each usual one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising.media.writing import AudioWriter
from tests.media.tools import arrangement, ffmpeg, needs_ffmpeg, pass_on

pytestmark = needs_ffmpeg

RATE = 48_000
PITCHES = [300, 500, 700, 60, 1100, 1300, 1500, 1700]  # of 7.1, whose fourth is the low one


@pytest.mark.parametrize("suffix", ["caf", "aiff"])
def test_an_order_that_pyav_crashes_at(tmp_path: Path, suffix: str) -> None:
    """Of eight channels CAF and AIFF may tell another order than WAV does."""
    tones = "|".join(f"0.1*sin(2*PI*{pitch}*t)" for pitch in PITCHES)
    source = tmp_path / f"in.{suffix}"
    ffmpeg("-f", "lavfi", "-i", f"aevalsrc={tones}:c=7.1:s={RATE}:d=0.25", source)
    pass_on(source, tmp_path / "out.wav")
    samples = soundfile.read(tmp_path / "out.wav")[0].T
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.shape[1])))
    assert [round(4 * int(k) / 20) * 20 for k in spectrum.argmax(axis=1)] == PITCHES


@pytest.mark.parametrize("channels", [3, 4, 6])
def test_no_loudspeakers_are_made_up(tmp_path: Path, channels: int) -> None:
    """Four microphones are no quadraphony."""
    with AudioWriter(tmp_path / "a.wav", RATE, channels) as writer:
        writer.write(np.zeros((channels, 100), np.float32))
    assert arrangement(tmp_path / "a.wav") == f"{channels} channels"
