"""What the matrix of containers and codecs leaves out, and what becomes of what none can hold."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torch import Tensor

from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.media.formats import default_output
from audio_denoising.media.reading import AudioReader, read_audio
from audio_denoising.media.writing import AudioWriter
from tests.media.tools import filmed, lag, needs_ffmpeg

# Samples by which a codec is late where the file cannot tell so.
LATE = {".aac": 1024, ".amr": 40}
EXACT, LOSSY = 0.05, 1.0  # dB that the level may differ

# Name, codec (libsndfile's in capitals, FFmpeg's in small letters), rate, channels, subtype out,
# samples that may follow the end (what the container cannot tell of codec padding), dB of level.
COMBINATIONS = [
    ("a.wav", "FLOAT", 16_000, 1, "FLOAT", 0, EXACT),
    ("a.wav", "DOUBLE", 192_000, 2, "DOUBLE", 0, EXACT),
    ("a.wav", "64 bits", 11_025, 2, "DOUBLE", 0, EXACT),
    ("a.wav", "PCM_16", 16_000, 32, "PCM_16", 0, EXACT),
    ("a.m4a", "alac", 48_000, 2, "ALAC_24", 0, EXACT),
    ("a.mov", "pcm_s16le", 48_000, 2, "PCM_16", 0, EXACT),
    ("a.opus", "OPUS", 16_000, 2, "OPUS", 0, LOSSY),
    ("a.mp4", "ac3", 48_000, 2, "AC3", 1536, LOSSY),
    ("a.mkv", "aac", 48_000, 1, "AAC", 1024, LOSSY),
    ("a.webm", "libopus", 48_000, 2, "OPUS", 0, LOSSY),
    ("a.amr", "libopencore_amrnb", 8000, 1, "AMR_NB", 2 * 160, 2.5),
]


def unchanged(image: Tensor) -> Tensor:
    return image


def level_db(x: np.ndarray) -> float:
    return float(10 * np.log10(np.square(x.astype(np.float64)).sum()))


def write_64_bits(path: Path, x: np.ndarray, rate: int) -> None:
    data = (x.T.astype(np.float64) * 2**63).astype("<i8").tobytes()
    frame = 8 * len(x)
    form = struct.pack("<IHHIIHH", 16, 1, len(x), rate, rate * frame, frame, 64)
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + form
    path.write_bytes(head + b"data" + struct.pack("<I", len(data)) + data)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels", "subtype", "slack", "level"), COMBINATIONS
)
def test_every_format_keeps_length_rate_channels_place_and_level(
    tmp_path: Path,
    encode: Callable[..., Path],
    voice: Callable[..., np.ndarray],
    name: str,
    codec: str,
    rate: int,
    channels: int,
    subtype: str,
    slack: int,
    level: float,
) -> None:
    x = voice(rate, channels)
    source, target = tmp_path / name, tmp_path / f"out_{name}"
    if codec == "64 bits":
        write_64_bits(source, x, rate)
    elif codec.isupper():
        container = "OGG" if source.suffix == ".opus" else None
        soundfile.write(source, x.T, rate, subtype=codec, format=container)
    else:
        encode(source, codec, x, rate)

    before, _ = read_audio(source)
    if source.suffix != ".amr":  # which does not tell of the codec's delay
        assert lag(x[0], before[0]) == 0
        assert 0 <= before.shape[1] - x.shape[1] <= slack
    Denoiser(unchanged).denoise_file(source, target)
    with AudioReader(target) as reader:
        assert (reader.rate, reader.channels, reader.subtype) == (rate, channels, subtype)
        after = np.concatenate(list(reader.blocks(10_007)), axis=1)

    assert 0 <= after.shape[1] - before.shape[1] <= slack
    for channel in range(channels):
        assert lag(before[channel], after[channel]) == LATE.get(source.suffix, 0)
    assert abs(level_db(after) - level_db(before)) <= level
    assert {path.name for path in tmp_path.iterdir()} == {source.name, target.name}


@pytest.mark.parametrize("beyond", (0, 20, 47))
def test_an_mp3_is_as_long_as_its_sound(
    tmp_path: Path, voice: Callable[..., np.ndarray], beyond: int
) -> None:
    """Also where the sound just fills its last frame, which FFmpeg alone gets wrong."""
    x = voice(44_100, 1)[:, : 20 * 1152 + beyond]
    with AudioWriter(tmp_path / "a.mp3", 44_100, 1) as writer:
        writer.write(x)
    assert read_audio(tmp_path / "a.mp3")[0].shape == x.shape
    assert soundfile.info(tmp_path / "a.mp3").frames == x.shape[1]


def test_opus_in_a_video_container_is_resampled(
    tmp_path: Path, voice: Callable[..., np.ndarray]
) -> None:
    """Opus has no 44.1 kHz, and WebM has nothing but Opus to offer."""
    x = voice(44_100, 2)
    with AudioWriter(tmp_path / "a.webm", 44_100, 2) as writer:
        for start in range(0, x.shape[1], 7000):
            writer.write(x[:, start : start + 7000])
    y, rate = read_audio(tmp_path / "a.webm")
    assert rate == 48_000
    assert abs(y.shape[1] - x.shape[1] * 48_000 / 44_100) <= 1
    assert abs(level_db(y) - level_db(x) - 10 * np.log10(48 / 44.1)) < LOSSY


@pytest.mark.parametrize(
    ("name", "given", "channels", "kept"),
    [
        ("a.mkv", "AC3", 8, "AAC"),
        ("a.mp4", "MPEG_LAYER_III", 6, "AAC"),
        ("a.mov", "AAC", 32, "PCM_16"),
    ],
)
def test_a_video_gets_another_codec_where_its_own_cannot_hold_the_sound(
    tmp_path: Path,
    voice: Callable[..., np.ndarray],
    name: str,
    given: str,
    channels: int,
    kept: str,
) -> None:
    x = voice(48_000, channels)
    with AudioWriter(tmp_path / name, 48_000, channels, subtype=given) as writer:
        writer.write(x)
    assert writer.subtype == kept
    with AudioReader(tmp_path / name) as reader:
        assert (reader.rate, reader.channels, reader.subtype) == (48_000, channels, kept)


@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "FLOAT"), ("a.mka", "DOUBLE")])
def test_only_floating_point_files_hold_more_than_full_scale(
    tmp_path: Path, name: str, subtype: str
) -> None:
    x = np.array([[1.5, -1.5] * 500], np.float32)
    with AudioWriter(tmp_path / name, 16_000, 1, subtype=subtype) as writer:
        writer.write(x)
    assert not writer.clips
    assert np.array_equal(read_audio(tmp_path / name)[0], x)
    with AudioWriter(tmp_path / "b.flac", 16_000, 1, subtype=subtype) as writer:
        writer.write(x)
    assert writer.clips
    assert np.abs(read_audio(tmp_path / "b.flac")[0]).max() == 1


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("talk.2.mp3", "talk.2_denoised.wav"),
        ("film.mp4", "film_denoised.mp4"),
        ("film.MOV", "film_denoised.MOV"),
        ("film.avi", "film_denoised.mkv"),
        ("talk.mka", "talk_denoised.wav"),
    ],
)
def test_video_keeps_its_container_by_default(name: str, output: str) -> None:
    assert default_output(Path("x") / name) == Path("x") / output


@pytest.mark.parametrize(("name", "rate"), [("a.amr", 8000), ("a.aac", 22_050), ("a.wma", 44_100)])
def test_a_recording_that_begins_in_sound_begins_like_it(
    tmp_path: Path, voice: Callable[..., np.ndarray], name: str, rate: int
) -> None:
    """Packets left out at the start would have been what the decoder needs for the next."""
    x = voice(rate, 1, seconds=1.5)[:, rate // 2 :]  # loud at once
    with AudioWriter(tmp_path / name, rate, 1) as writer:
        writer.write(x)
    y, _ = read_audio(tmp_path / name)
    y = y[:, LATE.get(Path(name).suffix, 0) :]
    start = slice(0, rate // 40)
    assert np.abs(y[0, start]).max() < 1.5 * np.abs(x[0, start]).max()
    assert np.corrcoef(x[0, start], y[0, start])[0, 1] > 0.6


@needs_ffmpeg
@pytest.mark.parametrize(("picture", "ending"), [(False, ".wav"), (True, ".mkv")])
def test_a_video_container_with_sound_alone_becomes_sound(
    tmp_path: Path,
    voice: Callable[..., np.ndarray],
    encode: Callable[..., Path],
    *,
    picture: bool,
    ending: str,
) -> None:
    """Phones keep voice memos as .3gp."""
    path = tmp_path / "memo.3gp"
    if picture:
        filmed(path, "mpeg4", "-ar", "16000")
    else:
        encode(path, "aac", voice(16_000, 1), 16_000)
    assert default_output(path).suffix == ending
