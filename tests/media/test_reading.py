"""Good files read the same in blocks and whole; bad ones name themselves and the way out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising.errors import UserError
from audio_denoising.media.reading import AudioReader, read_audio
from audio_denoising.media.writing import AudioWriter

NOISE = (0.1 * np.random.default_rng(0).standard_normal((40_000, 2))).astype(np.float32)


def _truncated(path: Path) -> None:
    soundfile.write(path, NOISE, 16_000, format="FLAC")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _corrupt(path: Path) -> None:
    soundfile.write(path, NOISE, 16_000, format="FLAC")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)


def _floats(value: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        samples = NOISE.copy()
        samples[8_000, 1] = value
        soundfile.write(path, samples, 16_000, subtype="FLOAT", format="WAV")

    return make


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("gone.wav", lambda path: None, "does not exist"),
    "text": ("text.wav", lambda path: path.write_text("dear diary\n" * 99), "is not an audio file"),
    "text as mp3": ("text.mp3", lambda path: path.write_text("dear\n" * 99), "is not an audio"),
    "raw": ("a.raw", lambda path: path.write_bytes(b"abc" * 99), "is not an audio file"),
    "header only": ("h.wav", lambda path: path.write_bytes(b"RIFF\x24\0\0\0WAVE"), "not an audio"),
    "no samples": ("0.wav", lambda path: soundfile.write(path, NOISE[:0], 16_000), "no samples"),
    "truncated": ("half.flac", _truncated, "truncated or corrupt"),
    "corrupt": ("holes.flac", _corrupt, "truncated or corrupt"),
    "NaN": ("nan.wav", _floats(np.nan), "after 0.50 s"),
    "infinite": ("inf.wav", _floats(np.inf), "after 0.50 s"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_names_the_file_and_the_way_out(kind: str, tmp_path: Path) -> None:
    name, make, words = BAD[kind]
    path = tmp_path / name
    make(path)
    with pytest.raises(UserError, match=words) as caught:
        read_audio(path)
    message = str(caught.value)
    assert str(path) in message
    assert ":" in message.replace(str(path), "")
    assert "\n" not in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(UserError, match="not a regular file"):
        AudioReader(tmp_path / "pipe.wav")


def _written(path: Path, seconds: int = 4) -> np.ndarray:
    x = np.resize(NOISE[:, :1], (16_000 * seconds, 1)).T
    with AudioWriter(path, 16_000, 1, frames=x.shape[1]) as writer:
        writer.write(x)
    return read_audio(path)[0]


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.mp3", "a.mka", "a.flac", "a.aac"])
def test_what_is_there_of_a_truncated_file_can_be_had(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    x = _written(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with AudioReader(path, salvage=True) as reader:
        y = np.concatenate(list(reader.blocks(7001)), axis=1)
    assert 0.4 < y.shape[1] / x.shape[1] < 0.7
    whole = slice(0, y.shape[1] * 8 // 10)  # what lies next to the cut may be lost
    assert np.allclose(y[:, whole], x[:, whole], atol=1e-4)
    if path.suffix in (".flac", ".aac"):  # cut in the middle of a block, which cannot be decoded
        assert str(path) in reader.damage and "truncated or corrupt" in reader.damage
        assert re.search(r"\d\.\d\d s: ", reader.damage)
        with pytest.raises(UserError, match="truncated or corrupt"):
            read_audio(path)
    else:  # the header alone tells of more, and headers are often wrong
        (notice,) = reader.notices
        assert str(path) in notice and re.search(r"ends after .* tells of 4\.\d\d s", notice)
        assert np.array_equal(read_audio(path)[0], y)


def test_a_truncated_ogg_is_told_of(tmp_path: Path) -> None:
    """Its header tells of no length, but its last page should say that it is the last."""
    path = tmp_path / "a.ogg"
    _written(path, seconds=20)
    for share, told in ((1, 0), (0.6, 1)):
        path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
        with AudioReader(path, salvage=True) as reader:
            list(reader.blocks(7001))
        assert len([line for line in reader.notices if "the mark of its end" in line]) == told


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a", "a.ogg", "a.flac", "a.webm"])
def test_blocks_of_any_size_give_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with AudioWriter(path, 48_000, 2) as writer:
        writer.write(np.ascontiguousarray(NOISE.T))
    whole, _ = read_audio(path)
    for size in (100, 16_384, 30_000):
        with AudioReader(path) as reader:
            assert np.array_equal(np.concatenate(list(reader.blocks(size)), axis=1), whole)


def test_a_playlist_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.m3u8"
    path.write_text("#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(UserError, match="not an audio file"):
        AudioReader(path)
