"""What goes over untouched: any picture that FFmpeg's muxer takes, as it was told in the source."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from audio_denoising.errors import UserError
from tests.media.tools import ffmpeg, needs_ffmpeg, pass_on

pytestmark = needs_ffmpeg

HEVC = "libx265 -preset ultrafast -x265-params log-level=error"
# Pictures that no list of PyAV's lets into Matroska, or that take another form under another tag.
INTO_MATROSKA = [
    ("wmv", "wmv2"),
    ("flv", "flashsv"),
    ("avi", "huffyuv"),
    ("avi", "rawvideo -pix_fmt yuyv422"),
    ("mov", "rawvideo -pix_fmt uyvy422"),
    ("mov", "prores_ks -profile:v 3 -pix_fmt yuv422p10le"),
    ("mov", "png"),
    ("mov", "v210 -pix_fmt yuv422p10le"),
]


SOUND = {".wmv": "wmav2", ".asf": "wmav2", ".rm": "ac3", ".avi": "libmp3lame"}


def filmed(path: Path, picture: str, *more: str, inputs: tuple[str, ...] = ()) -> Path:
    """A film of 0.4 s with a moving picture and a tone."""
    moving = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4"]
    tone = ["-f", "lavfi", "-i", "sine=440:r=44100:d=0.4"]
    codecs = ["-c:a", SOUND.get(path.suffix, "aac"), "-c:v", *picture.split()]
    ffmpeg(*moving, *tone, *inputs, *codecs, *more, path)
    return path


def pictures(path: Path) -> tuple[str, list[np.ndarray]]:
    with av.open(path) as container:
        stream = container.streams.video[0]
        return stream.codec_context.name, [
            frame.reformat(format="rgb24").to_ndarray() for frame in container.decode(stream)
        ]


def tag(path: Path) -> str:
    with av.open(path) as container:
        return container.streams.video[0].codec_context.codec_tag


@pytest.mark.parametrize(("container", "picture"), INTO_MATROSKA)
def test_matroska_takes_every_picture(tmp_path: Path, container: str, picture: str) -> None:
    film = filmed(tmp_path / f"film.{container}", picture)
    pass_on(film, tmp_path / "cleaned.mkv")
    (name, before), (name_after, after) = pictures(film), pictures(tmp_path / "cleaned.mkv")
    assert name_after == name
    assert len(after) == len(before) >= 9
    assert all(np.array_equal(x, y) for x, y in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("source", "target", "picture", "expected"),
    [
        ("a.mov", "b.mov", HEVC + " -tag:v hvc1", "hvc1"),
        ("a.mp4", "b.mp4", HEVC + " -tag:v hev1", "hev1"),
        ("a.mkv", "b.mp4", HEVC, "hvc1"),
        ("a.ts", "b.mov", HEVC, "hvc1"),
        ("a.mov", "b.mov", "prores_ks -profile:v 3 -pix_fmt yuv422p10le", "apch"),
        ("a.mov", "b.mov", "mpeg2video -tag:v xdv4", "xdv4"),
        ("a.mp4", "b.mp4", "libx264 -preset ultrafast", "avc1"),
    ],
)
def test_the_tag_stays_that_players_go_by(
    tmp_path: Path, source: str, target: str, picture: str, expected: str
) -> None:
    pass_on(filmed(tmp_path / source, picture), tmp_path / target)
    assert tag(tmp_path / target) == expected


def test_pixels_keep_their_shape_or_it_is_named(tmp_path: Path) -> None:
    film = filmed(tmp_path / "a.mov", "rawvideo -pix_fmt uyvy422", "-aspect", "2.0")
    assert pass_on(film, tmp_path / "b.mov") == ()
    with av.open(tmp_path / "b.mov") as container:
        assert container.streams.video[0].sample_aspect_ratio == pytest.approx(1.5)
    (told,) = pass_on(film, tmp_path / "c.mkv")
    assert "shape of pixels (3:2)" in told


def test_data_are_kept_or_named(tmp_path: Path) -> None:
    """The positions that a GoPro writes, here made from subtitles."""
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:00,300\nN 52.1 E 4.3\n")
    film = tmp_path / "a.mp4"
    streams = ["-map", "0", "-map", "1", "-map", "2", "-c:s", "mov_text"]
    filmed(film, "libx264", *streams, inputs=("-i", str(tmp_path / "a.srt")))
    data = film.read_bytes().replace(b"tx3g", b"gpmd").replace(b"sbtl", b"meta")
    film.write_bytes(data)
    assert pass_on(film, tmp_path / "b.mp4") == ()
    for path in film, tmp_path / "b.mp4":
        with av.open(path) as container:
            assert [stream.type for stream in container.streams] == ["video", "audio", "data"]
            assert b"N 52.1 E 4.3" in b"".join(map(bytes, container.demux(container.streams[2])))
    (told,) = pass_on(film, tmp_path / "c.mkv")
    assert "data track" in told


def test_a_picture_that_cannot_be_held_is_refused(tmp_path: Path) -> None:
    film = filmed(tmp_path / "a.wmv", "wmv2")
    with pytest.raises(UserError, match=r"b\.webm cannot hold the picture \(wmv2\): .* a \.mkv"):
        pass_on(film, tmp_path / "b.webm")
    film = filmed(tmp_path / "a.rm", "rv20 -s 176x144")
    with pytest.raises(UserError, match=r"b\.mkv cannot .* \(rv20\): choose a \.wav name"):
        pass_on(film, tmp_path / "b.mkv")
