"""Title, artist, date and cover picture survive, whatever the container."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from audio_denoising.media.about import read_about
from audio_denoising.media.reading import read_audio
from tests.media.tools import pass_on

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
def test_tags_and_cover_are_kept(
    tmp_path: Path,
    encode: Callable[..., Path],
    voice: Callable[..., np.ndarray],
    name: str,
) -> None:
    x = voice(48_000, 2, seconds=2)
    first = encode(tmp_path / "first.mp3", "libmp3lame", x, 48_000, tags=TAGS, cover=COVER)
    pass_on(first, tmp_path / name)
    pass_on(tmp_path / name, tmp_path / f"second_{name}")
    for path in (tmp_path / name, tmp_path / f"second_{name}"):
        assert TAGS.items() <= read_about(path).tags.items()
        assert covers(path) == ([] if name in WITHOUT_COVER else [COVER])
    assert 0 <= read_audio(tmp_path / name)[0].shape[1] - x.shape[1] < 4096


def test_a_cover_that_cannot_be_kept_is_named(
    tmp_path: Path, encode: Callable[..., Path], voice: Callable[..., np.ndarray]
) -> None:
    first = encode(tmp_path / "a.mp3", "libmp3lame", voice(48_000, 1), 48_000, cover=COVER)
    (left_out,) = pass_on(first, tmp_path / "a.webm")
    assert "cover picture (png)" in left_out
