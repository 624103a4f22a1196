"""All of the sound is read, whatever the header tells: joined, piped and wrongly labelled files.

The files are made by the `ffmpeg` command, and judged by the sound that went into them.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising.media.reading import AudioReader
from tests.media.tools import ffmpeg, joined, needs_ffmpeg, voice

pytestmark = needs_ffmpeg

RATE = 48_000


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """Two channels of noise in the band of speech, 2 s."""
    soundfile.write(tmp_path / "spoken.wav", voice(RATE, 2, seconds=2).T, RATE, "PCM_16")
    return tmp_path / "spoken.wav"


def read(path: Path) -> tuple[np.ndarray, AudioReader]:
    """All of a file that is not damaged."""
    with AudioReader(path) as reader:
        samples = np.concatenate(list(reader.blocks(7_001)), axis=1)
    assert reader.damage == ""
    return samples, reader


def si_sdr(clean: np.ndarray, heard: np.ndarray, late: float = 0.0) -> float:
    """SI-SDR in dB of the first channel, of sound that comes ``late`` samples late."""
    n = min(clean.shape[1], heard.shape[1] - int(np.ceil(late)))
    x, spectrum = clean[0, :n], np.fft.rfft(heard[0])
    turned = np.exp(2j * np.pi * np.fft.rfftfreq(heard.shape[1]) * late)
    y = np.fft.irfft(spectrum * turned, heard.shape[1])[:n]
    x, y = x[1000:-1000].astype(np.float64), y[1000:-1000]  # the ends are the codec's
    part = x * (x @ y) / (x @ x)
    return float(10 * np.log10((part @ part) / np.square(y - part).sum()))


JOINED = {
    "vorbis": ("ogg", ["-q:a", "8"], ["-q:a", "8"]),
    "opus": ("opus", ["-b:a", "192k"], ["-b:a", "96k"]),
    "flac": ("flac", [], []),
    "matroska": ("mka", ["-c:a", "flac"], ["-c:a", "flac"]),
    "mp3, high bit rate first": ("mp3", ["-b:a", "320k"], ["-b:a", "128k"]),
    "mp3 without tags": ("mp3", ["-write_xing", "0"], ["-write_xing", "0"]),
    "aac": ("aac", ["-b:a", "192k"], ["-b:a", "192k"]),
}


@pytest.mark.parametrize("kind", JOINED)
def test_joined_recordings_are_read_to_the_end(spoken: Path, kind: str) -> None:
    suffix, first, second = JOINED[kind]
    one, two = (spoken.with_name(f"{name}.{suffix}") for name in ("one", "two"))
    ffmpeg("-i", spoken, *first, one, *second, two)
    clean = read(spoken)[0]
    heard, reader = read(joined(one, two))
    assert reader.notices == ()
    extra = heard.shape[1] - 2 * clean.shape[1]  # padding of the codecs, at the start and the seam
    assert 0 <= extra <= 4 * 1152
    for start in (0, clean.shape[1]):  # each of the two, wherever the padding put it
        part = heard[:, start : start + clean.shape[1] + extra]
        late = int(np.correlate(part[0, 5000:], clean[0, 5000 : -extra - 5000], "valid").argmax())
        assert late <= extra
        assert si_sdr(clean, part[:, late:]) > 10


def test_the_rate_may_change_on_the_way(spoken: Path) -> None:
    """One resampler over all frames: one for each of them would leave a seam every 23 ms."""
    one, two = (spoken.with_name(f"{name}.aac") for name in ("one", "two"))
    ffmpeg("-i", spoken, "-b:a", "192k", one, "-ar", "44100", "-b:a", "192k", two)
    clean = read(spoken)[0]
    heard, _ = read(joined(one, two))
    first = read(one)[0].shape[1]
    at_one_rate = si_sdr(clean, heard[:, :first], late=1024)
    assert si_sdr(clean, heard[:, first:], late=1024 * 48_000 / 44_100) > at_one_rate - 1 > 20


@pytest.mark.parametrize("seconds", [0.3, 2.0])
def test_a_flac_from_a_pipe_is_read_whole(spoken: Path, seconds: float) -> None:
    """Its header leaves the length open."""
    piped = spoken.with_name("piped.flac")
    command = ["ffmpeg", "-v", "error", "-i", str(spoken), "-t", str(seconds), "-f", "flac", "-"]
    piped.write_bytes(
        subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE).stdout
    )
    clean = read(spoken)[0]
    heard, reader = read(piped)
    assert reader.notices == ()
    assert np.array_equal(heard, clean[:, : round(seconds * RATE)])


def test_mp3_inside_a_wav_has_no_seams(spoken: Path) -> None:
    """As the same MP3 outside."""
    inside, outside = spoken.with_name("inside.wav"), spoken.with_name("outside.mp3")
    ffmpeg("-i", spoken, "-c:a", "libmp3lame", "-b:a", "128k", inside)
    ffmpeg("-i", inside, "-c", "copy", "-write_xing", "0", outside)
    assert np.array_equal(read(inside)[0], read(outside)[0])


def _told(path: Path, size: int) -> Path:
    """The recording with another size of its samples in the header, and in both places of it
    where a program leaves it open or loses power."""
    data = bytearray(path.read_bytes())
    start = data.index(b"data")
    data[start + 4 : start + 8] = struct.pack("<I", size)
    if size in (0, 0xFFFFFFFF):
        data[4:8] = data[start + 4 : start + 8]
    told = path.with_name("told.wav")
    told.write_bytes(data)
    return told


@pytest.mark.parametrize("told", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 2_000_000_000, -36, 36])
def test_a_wrong_size_in_a_wav_cuts_and_refuses_nothing(spoken: Path, told: int) -> None:
    """Sizes left open, filled with a place holder, or counted with the header or without."""
    clean = read(spoken)[0]
    size = 4 * clean.shape[1] + told if abs(told) == 36 else told
    heard, reader = read(_told(spoken, size))
    missing = 9 if told == -36 else 0  # what lies behind the told end may be something else
    assert np.array_equal(heard, clean[:, : clean.shape[1] - missing])
    assert len(reader.notices) == (told == 2_000_000_000)


@pytest.mark.parametrize("suffix", ["wav", "aiff", "au", "caf", "m4a", "wma", "tta"])
def test_a_second_recording_that_nobody_reads_is_named(spoken: Path, suffix: str) -> None:
    one = spoken.with_name(f"one.{suffix}")
    ffmpeg("-i", spoken, one)
    assert read(one)[1].notices == ()
    heard, reader = read(joined(one, one))
    assert heard.shape == read(one)[0].shape
    (notice,) = reader.notices
    assert "second recording" in notice


@pytest.mark.parametrize("suffix", ["ogg", "opus", "flac", "m4a"])
def test_what_is_lost_in_the_middle_is_damage_and_leaves_silence(spoken: Path, suffix: str) -> None:
    long, whole = spoken.with_name("long.wav"), spoken.with_name(f"whole.{suffix}")
    ffmpeg("-stream_loop", "4", "-i", spoken, long)
    ffmpeg("-i", long, whole)
    clean, _ = read(whole)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    whole.write_bytes(data)
    with AudioReader(whole, salvage=True) as reader:
        heard = np.concatenate(list(reader.blocks(7_001)), axis=1)
    assert "has damaged places from" in reader.damage
    assert heard.shape == clean.shape
    for part in slice(RATE), slice(-RATE, None):
        assert np.allclose(heard[:, part], clean[:, part], atol=0.02)
