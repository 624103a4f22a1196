"""Every loudspeaker gets its own sound, whatever the container: written here, read by `ffmpeg`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from audio_denoising.media.reading import AudioReader, read_audio
from audio_denoising.media.writing import AudioWriter

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command")

RATE = 48_000
LAYOUTS = {
    "3.0": 3,
    "quad": 4,
    "5.0": 5,
    "5.1": 6,
    "5.1(side)": 6,
    "6.1": 7,
    "7.1": 8,
}


def tones(layout: str) -> list[int]:
    """A tone for every channel; a low one where the low-frequency loudspeaker is."""
    pitch = list(range(300, 300 + 200 * LAYOUTS[layout], 200))
    if layout.endswith((".1", ".1(side)")):
        pitch[3] = 60
    return pitch


def heard(samples: np.ndarray) -> list[int]:
    """The pitch of each channel."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.shape[1])))
    return [round(k * RATE / samples.shape[1] / 20) * 20 for k in spectrum.argmax(axis=1)]


def wav(path: Path, layout: str) -> Path:
    """Tones in a WAV with the mask of the layout, made by `ffmpeg`."""
    expression = "|".join(f"0.1*sin(2*PI*{f}*t)" for f in tones(layout))
    source = f"aevalsrc={expression}:c={layout}:s={RATE}:d=0.25"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def by_ffmpeg(path: Path) -> tuple[np.ndarray, str]:
    """Samples and layout of a file, as the `ffmpeg` and `ffprobe` commands see them."""
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=channels,channel_layout"]
    told = subprocess.run(
        [*probe, "-of", "csv=p=0", str(path)],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    ).stdout
    channels, _, layout = told.strip().partition(",")
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "-"]
    raw = subprocess.run(command, check=True, timeout=60, capture_output=True).stdout
    return np.frombuffer(raw, "<f4").reshape(-1, int(channels)).T, layout


def pass_on(source: Path, target: Path) -> None:
    with (
        AudioReader(source) as reader,
        AudioWriter(
            target, reader.rate, reader.channels, subtype=reader.subtype, source=reader
        ) as writer,
    ):
        for block in reader.blocks(10_000):
            writer.write(block)


@pytest.mark.parametrize(
    ("suffix", "layout"),
    [
        *(("ogg", layout) for layout in LAYOUTS),
        *(("opus", layout) for layout in LAYOUTS),
        *(
            (suffix, layout)
            for suffix in ("wav", "flac")
            for layout in ("quad", "5.1(side)", "7.1")
        ),
        ("w64", "5.1"),
    ],
)
def test_each_channel_stays_where_it_is(tmp_path: Path, suffix: str, layout: str) -> None:
    source, target = wav(tmp_path / "in.wav", layout), tmp_path / f"out.{suffix}"
    pass_on(source, target)
    samples, told = by_ffmpeg(target)
    assert heard(samples) == tones(layout)
    # Ogg names no loudspeakers: its number of channels tells the layout.
    assert told == layout or (suffix in ("ogg", "opus") and len(samples) == LAYOUTS[layout])
    assert heard(read_audio(target)[0]) == tones(layout)


@pytest.mark.parametrize("suffix", ["m4a", "mkv", "mov", "caf", "webm"])
def test_5_1_stays_where_it_is(tmp_path: Path, suffix: str) -> None:
    source, target = wav(tmp_path / "in.wav", "5.1"), tmp_path / f"out.{suffix}"
    pass_on(source, target)
    samples, told = by_ffmpeg(target)
    assert heard(samples) == tones("5.1")
    assert told.startswith("5.1")  # CAF has one mark for those behind and beside


@pytest.mark.parametrize("codec", ["libopus", "libvorbis"])
def test_surround_sound_in_ogg_is_read_in_order(tmp_path: Path, codec: str) -> None:
    source, ogg = wav(tmp_path / "in.wav", "5.1"), tmp_path / "in.ogg"
    command = ["ffmpeg", "-v", "error", "-i", str(source), "-c:a", codec, "-b:a", "300k", str(ogg)]
    subprocess.run(command, check=True, timeout=60)
    with AudioReader(ogg) as reader:
        assert reader.layout == "5.1"
        samples = np.concatenate(list(reader.blocks(10_000)), axis=1)
    assert heard(samples) == tones("5.1")


@pytest.mark.parametrize("suffix", ["caf", "aiff"])
def test_an_order_that_pyav_crashes_at(tmp_path: Path, suffix: str) -> None:
    """Of eight channels CAF and AIFF may tell another order than WAV does."""
    source = wav(tmp_path / "in.wav", "7.1")
    command = ["ffmpeg", "-v", "error", "-i", str(source), str(tmp_path / f"in.{suffix}")]
    subprocess.run(command, check=True, timeout=60)
    pass_on(tmp_path / f"in.{suffix}", tmp_path / "out.wav")
    assert heard(by_ffmpeg(tmp_path / "out.wav")[0]) == tones("7.1")


@pytest.mark.parametrize("channels", [3, 4, 6])
def test_no_loudspeakers_are_made_up(tmp_path: Path, channels: int) -> None:
    """Four microphones are no quadraphony."""
    with AudioWriter(tmp_path / "a.wav", RATE, channels) as writer:
        writer.write(np.zeros((channels, 100), np.float32))
    samples, told = by_ffmpeg(tmp_path / "a.wav")
    assert (len(samples), told) in ((channels, ""), (channels, "unknown"))
