"""Files appear whole or not at all, keep their bit depth, and nothing is replaced unasked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising.errors import UserError
from audio_denoising.media.reading import read_audio
from audio_denoising.media.writing import AudioWriter

NOISE = (0.1 * np.random.default_rng(0).standard_normal((2, 30_000))).astype(np.float32)


def write(path: Path, samples: np.ndarray = NOISE, rate: int = 48_000, **options: object) -> None:
    options = {"frames": samples.shape[1], **options}
    with AudioWriter(path, rate, len(samples), **options) as writer:  # type: ignore[arg-type]
        writer.write(samples[:, :10_000])
        writer.write(samples[:, 10_000:])


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("a.wav", "PCM_S8", "PCM_U8"),
        ("a.wav", "ULAW", "ULAW"),
        ("a.wav", "GSM610", "PCM_16"),
        ("a.WAV", "PCM_32", "PCM_32"),
        ("a.flac", "PCM_32", "PCM_24"),
        ("a.ogg", "PCM_16", "VORBIS"),
        ("a.ogg", "OPUS", "OPUS"),
        ("a.mp3", "PCM_24", "MPEG_LAYER_III"),
    ],
)
def test_sample_format_is_kept_where_it_can_be(
    tmp_path: Path, name: str, given: str, kept: str
) -> None:
    write(tmp_path / name, subtype=given)
    info = soundfile.info(tmp_path / name)
    assert (info.subtype, info.frames, info.channels, info.samplerate) == (kept, 30_000, 2, 48_000)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("frames", [0, 30_000], ids=["length unknown", "length known"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "PCM_U8"])
def test_samples_survive_reading_and_writing_unchanged(
    tmp_path: Path, subtype: str, frames: int
) -> None:
    write(tmp_path / "first.wav", subtype=subtype)
    first, rate = read_audio(tmp_path / "first.wav")
    write(tmp_path / "second.wav", first, rate, subtype=subtype, frames=frames)
    assert np.array_equal(read_audio(tmp_path / "second.wav")[0], first)


def test_a_plain_wav_has_the_header_that_all_programs_know(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    assert (tmp_path / "a.wav").stat().st_size == 44 + 2 * NOISE.size


@pytest.mark.parametrize(
    ("name", "frames"), [("a.wav", 4), ("a.wav", 0), ("a.flac", 4), ("a.aiff", 4)]
)
def test_integers_clip_and_never_wrap(tmp_path: Path, name: str, frames: int) -> None:
    write(tmp_path / name, np.array([[1.5, -1.5, 1.0, -1.0]], np.float32), 16_000, frames=frames)
    assert soundfile.read(tmp_path / name, dtype="int16")[0].tolist() == [32767, -32768] * 2


def test_24_bits_are_rounded(tmp_path: Path) -> None:
    steps = np.arange(1000)
    write(tmp_path / "a.flac", ((steps + 0.75) / 2**23).astype(np.float32)[None], subtype="PCM_24")
    assert np.array_equal(soundfile.read(tmp_path / "a.flac", dtype="int32")[0] >> 8, steps + 1)


@pytest.mark.parametrize("frames", [0, 2**31])
def test_a_wav_that_may_grow_beyond_four_gigabytes_can_become_an_rf64(
    tmp_path: Path, frames: int
) -> None:
    write(tmp_path / "a.wav", frames=frames)
    assert (tmp_path / "a.wav").read_bytes()[12:16] == b"JUNK"  # the place of its sizes


@pytest.mark.parametrize("name", ["out.wav", "out.flac"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, UserError])
def test_an_interrupt_leaves_what_was_there(
    tmp_path: Path, name: str, error: type[BaseException]
) -> None:
    for before in ({}, {name: b"precious"}):
        for path, content in before.items():
            (tmp_path / path).write_bytes(content)
        writer = AudioWriter(tmp_path / name, 16_000, 2, frames=30_000, force=True)
        with pytest.raises(error), writer:
            writer.write(NOISE)
            raise error
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_is_replaced_without_force(tmp_path: Path) -> None:
    """Nor is a file that appears meanwhile."""
    path = tmp_path / "out.wav"
    with pytest.raises(UserError, match="force=True"), AudioWriter(path, 16_000, 2) as writer:
        writer.write(NOISE)
        path.write_bytes(b"precious")
    assert path.read_bytes() == b"precious"
    with pytest.raises(UserError, match="force=True"):
        write(path)
    assert path.read_bytes() == b"precious" and list(tmp_path.iterdir()) == [path]
    write(path, force=True)
    assert soundfile.info(path).frames == 30_000


@pytest.mark.parametrize(
    ("name", "channels", "rate", "words"),
    [
        ("a_folder.wav", 1, 16_000, "is a folder"),
        ("out.xyz", 1, 16_000, "choose one of"),
        ("out.opus", 1, 44_100, "choose a .wav name"),
        ("out.mp3", 6, 44_100, "choose a .wav name"),
        ("out.mp3", 1, 96_000, "choose a .wav name"),
        ("out.flac", 9, 44_100, "choose a .wav name"),
        ("out.amr", 1, 16_000, "choose a .wav name"),
        ("out.amr", 2, 8000, "choose a .wav name"),
        ("out.m4a", 2, 192_000, "choose a .wav name"),
        ("/proc/out.wav", 1, 16_000, "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_said_and_leaves_nothing(
    tmp_path: Path, name: str, channels: int, rate: int, words: str
) -> None:
    if name.startswith("/") and not Path(name).parent.is_dir():
        pytest.skip("no such place here")
    (tmp_path / "a_folder.wav").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=words) as caught:
        write(tmp_path / name, np.zeros((channels, 100), np.float32), rate)
    assert name in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits as Linux has them")
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
import resource, signal, numpy as np
from audio_denoising.errors import UserError
from audio_denoising.media.writing import AudioWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0).uniform(-1, 1, (1, 400_000)).astype("f4")
for ending in ("wav", "flac", "ogg", "mp3", "mkv"):
    try:
        with AudioWriter({str(tmp_path)!r} + "/out." + ending, 16_000, 1, frames=400_000) as writer:
            writer.write(noise)
    except UserError as error:
        print("said:", error)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    told = ran.stdout.splitlines()
    assert len(told) == 5
    assert all(line.startswith("said: ") and "cannot be written" in line for line in told)
    assert list(tmp_path.iterdir()) == []
