"""Every loudspeaker gets its own sound: what the ffmpeg command says of it, and odd orders.

The matrix test passes tones through each layout; here is what their files tell.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from audio_denoising.media.reading import AudioReader
from audio_denoising.media.writing import AudioWriter
from tests.media.tools import ffmpeg, needs_ffmpeg, pass_on

pytestmark = needs_ffmpeg

RATE = 48_000
LAYOUTS = {"quad": 4, "5.1": 6, "5.1(side)": 6, "7.1": 8}


def tones(layout: str) -> list[int]:
    """A tone for every channel; a low one where the low-frequency loudspeaker is."""
    pitch = list(range(300, 300 + 200 * LAYOUTS[layout], 200))
    if layout != "quad":
        pitch[3] = 60
    return pitch


def wav(path: Path, layout: str) -> Path:
    """Tones in a WAV with the mask of the layout."""
    expression = "|".join(f"0.1*sin(2*PI*{f}*t)" for f in tones(layout))
    ffmpeg("-f", "lavfi", "-i", f"aevalsrc={expression}:c={layout}:s={RATE}:d=0.25", path)
    return path


def heard(path: Path) -> tuple[list[int], str]:
    """The pitch of each channel and the layout, as the `ffmpeg` and `ffprobe` commands see them."""
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=channels,channel_layout"]
    told = subprocess.check_output([*probe, "-of", "csv=p=0", path], text=True)
    channels, _, layout = told.strip().partition(",")
    raw = subprocess.check_output(["ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-"])
    samples = np.frombuffer(raw, "<f4").reshape(-1, int(channels)).T
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.shape[1])))
    pitch = [round(k * RATE / samples.shape[1] / 20) * 20 for k in spectrum.argmax(axis=1)]
    return pitch, layout


@pytest.mark.parametrize(
    ("suffix", "layout"),
    [
        ("wav", "quad"),
        ("wav", "5.1(side)"),
        ("flac", "7.1"),
        ("mkv", "5.1"),
        ("mov", "5.1"),
        ("ogg", "5.1"),
    ],
)
def test_each_channel_stays_where_it_is_and_is_called_so(
    tmp_path: Path, suffix: str, layout: str
) -> None:
    pass_on(wav(tmp_path / "in.wav", layout), tmp_path / f"out.{suffix}")
    assert heard(tmp_path / f"out.{suffix}") == (tones(layout), layout)


@pytest.mark.parametrize("suffix", ["caf", "aiff"])
def test_an_order_that_pyav_crashes_at(tmp_path: Path, suffix: str) -> None:
    """Of eight channels CAF and AIFF may tell another order than WAV does."""
    ffmpeg("-i", wav(tmp_path / "in.wav", "7.1"), tmp_path / f"in.{suffix}")
    pass_on(tmp_path / f"in.{suffix}", tmp_path / "out.wav")
    assert heard(tmp_path / "out.wav")[0] == tones("7.1")


@pytest.mark.parametrize("codec", ["libopus", "libvorbis"])
def test_surround_sound_in_ogg_is_told_of(tmp_path: Path, codec: str) -> None:
    ffmpeg("-i", wav(tmp_path / "in.wav", "5.1"), "-c:a", codec, tmp_path / "in.ogg")
    with AudioReader(tmp_path / "in.ogg") as reader:
        assert reader.layout == "5.1"


@pytest.mark.parametrize("channels", [3, 4, 6])
def test_no_loudspeakers_are_made_up(tmp_path: Path, channels: int) -> None:
    """Four microphones are no quadraphony."""
    with AudioWriter(tmp_path / "a.wav", RATE, channels) as writer:
        writer.write(np.zeros((channels, 100), np.float32))
    pitch, told = heard(tmp_path / "a.wav")
    assert len(pitch) == channels and told in ("", "unknown")
