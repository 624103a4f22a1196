"""What the matrix of containers and codecs leaves out, and what becomes of what none can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising.media.formats import default_output
from audio_denoising.media.reading import AudioReader, read_audio
from audio_denoising.media.writing import AudioWriter
from tests.media.tools import arrangement, ffmpeg, filmed, lag, needs_ffmpeg, pass_on, voice

# Samples by which a codec is late where the file cannot tell so.
LATE = {".aac": 1024, ".amr": 40}
LOSSY = 1.0  # dB that the level may differ


def level_db(x: np.ndarray) -> float:
    return float(10 * np.log10(np.square(x.astype(np.float64)).sum()))


@pytest.mark.parametrize(
    ("name", "rate", "channels", "slack", "level"),
    [("a.opus", 16_000, 2, 0, LOSSY), ("a.amr", 8000, 1, 2 * 160, 2.5)],
)
def test_codecs_with_a_rate_of_their_own_keep_it(
    tmp_path: Path, name: str, rate: int, channels: int, slack: int, level: float
) -> None:
    """Opus always holds 48 kHz, and tells what it was made from; AMR has nothing but 8 kHz."""
    x = voice(rate, channels)
    with AudioWriter(tmp_path / name, rate, channels) as writer:
        writer.write(x)
    pass_on(tmp_path / name, tmp_path / f"again_{name}")
    before, _ = read_audio(tmp_path / name)
    after, kept = read_audio(tmp_path / f"again_{name}")
    if name == "a.opus":  # AMR does not tell of the codec's delay
        assert before.shape == x.shape and lag(x[0], before[0]) == 0
    assert kept == rate and 0 <= after.shape[1] - before.shape[1] <= slack
    assert lag(before[0], after[0]) == LATE.get(Path(name).suffix, 0)
    assert abs(level_db(after) - level_db(before)) <= level


@pytest.mark.parametrize("beyond", (0, 20, 47))
def test_an_mp3_is_as_long_as_its_sound(tmp_path: Path, beyond: int) -> None:
    """Also where the sound just fills its last frame, which FFmpeg alone gets wrong."""
    x = voice(44_100, 1)[:, : 20 * 1152 + beyond]
    with AudioWriter(tmp_path / "a.mp3", 44_100, 1) as writer:
        writer.write(x)
    assert read_audio(tmp_path / "a.mp3")[0].shape == x.shape
    assert soundfile.info(tmp_path / "a.mp3").frames == x.shape[1]


def test_ac3_loses_nothing_of_the_end(tmp_path: Path) -> None:
    """Its encoder keeps 256 samples to itself, if they begin a frame of their own."""
    with AudioWriter(tmp_path / "a.mka", 48_000, 2, subtype="AC3") as writer:
        writer.write(voice(48_000, 2)[:, : 10 * 1536])
    assert 0 <= read_audio(tmp_path / "a.mka")[0].shape[1] - 10 * 1536 < 1536


@pytest.mark.parametrize("frames", [1, 577, 9_999])
def test_a_short_vorbis_keeps_its_length(tmp_path: Path, frames: int) -> None:
    """Of one that fits into one page FFmpeg reads too much."""
    x = voice(44_100, 1)[:, :frames]
    soundfile.write(tmp_path / "a.ogg", x.T, 44_100)
    assert read_audio(tmp_path / "a.ogg")[0].shape == x.shape


def test_opus_in_a_video_container_is_resampled(tmp_path: Path) -> None:
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
    tmp_path: Path, name: str, given: str, channels: int, kept: str
) -> None:
    with AudioWriter(tmp_path / name, 48_000, channels, subtype=given) as writer:
        writer.write(voice(48_000, channels))
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
    assert writer.notices == ()
    assert np.array_equal(read_audio(tmp_path / name)[0], x)
    with AudioWriter(tmp_path / "b.flac", 16_000, 1, subtype=subtype) as writer:
        writer.write(x)
    (told,) = writer.notices
    assert told.startswith(f"1000 samples of {tmp_path / 'b.flac'} went beyond full scale")
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
    tmp_path: Path, name: str, rate: int
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
    tmp_path: Path, picture: bool, ending: str
) -> None:
    """Phones keep voice memos as .3gp."""
    path = filmed(tmp_path / "memo.3gp", "mpeg4", "-ar", "16000", *(() if picture else ["-vn"]))
    assert default_output(path).suffix == ending


PITCHES = [300, 500, 700, 60, 1100, 1300, 1500, 1700]  # of 7.1, whose fourth is the low one


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["caf", "aiff"])
def test_an_order_that_pyav_crashes_at(tmp_path: Path, suffix: str) -> None:
    """Of eight channels CAF and AIFF may tell another order than WAV does."""
    tones = "|".join(f"0.1*sin(2*PI*{pitch}*t)" for pitch in PITCHES)
    source = tmp_path / f"in.{suffix}"
    ffmpeg("-f", "lavfi", "-i", f"aevalsrc={tones}:c=7.1:s=48000:d=0.25", source)
    pass_on(source, tmp_path / "out.wav")
    samples = soundfile.read(tmp_path / "out.wav")[0].T
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.shape[1])))
    assert [round(4 * int(k) / 20) * 20 for k in spectrum.argmax(axis=1)] == PITCHES


@pytest.mark.parametrize("channels", [3, 4, 6])
def test_no_loudspeakers_are_made_up(tmp_path: Path, channels: int) -> None:
    """Four microphones are no quadraphony."""
    with AudioWriter(tmp_path / "a.wav", 48_000, channels) as writer:
        writer.write(np.zeros((channels, 100), np.float32))
    assert arrangement(tmp_path / "a.wav") == f"{channels} channels"
