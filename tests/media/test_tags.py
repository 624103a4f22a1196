"""Title, artist, date and cover picture survive, whatever the container."""

from __future__ import annotations

import base64
from pathlib import Path

import av
import pytest

from audio_denoising.media.about import read_about
from audio_denoising.media.reading import read_audio
from tests.media.tools import ffmpeg, needs_ffmpeg, pass_on

pytestmark = needs_ffmpeg

TAGS = {
    "title": "Interview",
    "artist": "Zoë",
    "album": "Field work",
    "date": "2021-05-04",
    "comment": "windy",
    "genre": "Speech",
    "copyright": "CC0",
}
# A PNG of one pixel.
COVER = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Two seconds of noise with the tags and the cover, as MP3."""
    (tmp_path / "cover.png").write_bytes(COVER)
    noise = ["-f", "lavfi", "-i", "anoisesrc=r=48000:d=2:a=0.1", "-i", tmp_path / "cover.png"]
    tags = [word for name, text in TAGS.items() for word in ("-metadata", f"{name}={text}")]
    cover = ["-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic"]
    ffmpeg(*noise, *cover, *tags, tmp_path / "first.mp3")
    return tmp_path / "first.mp3"


def covers(path: Path) -> list[bytes]:
    with av.open(path) as container:
        return [
            bytes(next(container.demux(stream)))
            for stream in container.streams.video
            if stream.disposition & av.stream.Disposition.attached_pic
        ]


WITHOUT_COVER = ("a.wav", "a.aiff", "a.wma")


@pytest.mark.parametrize(
    "name",
    [
        *WITHOUT_COVER,
        *("a.flac", "a.ogg", "a.opus", "a.mp3", "a.m4a", "a.m4b", "a.mka", "a.mp4", "a.mkv"),
    ],
)
def test_tags_and_cover_are_kept(first: Path, tmp_path: Path, name: str) -> None:
    pass_on(first, tmp_path / name)
    pass_on(tmp_path / name, tmp_path / f"second_{name}")
    for path in (tmp_path / name, tmp_path / f"second_{name}"):
        assert TAGS.items() <= read_about(path).tags.items()
        assert covers(path) == ([] if name in WITHOUT_COVER else [COVER])
    assert 0 <= read_audio(tmp_path / name)[0].shape[1] - 96_000 < 4096


def test_a_cover_that_cannot_be_kept_is_named(first: Path, tmp_path: Path) -> None:
    (told,) = pass_on(first, tmp_path / "a.webm")
    assert "cover picture (png)" in told
