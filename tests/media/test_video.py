"""Videos: the picture and all that goes with it stay untouched, the sound stays in time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from audio_denoising.errors import UserError
from audio_denoising.media.reading import AudioReader, read_audio
from tests.media.tools import ffmpeg, filmed, lag, needs_ffmpeg, pass_on

pytestmark = needs_ffmpeg

RATE = 48_000
NO_TEXT = b"\0\0"  # MP4 marks the end of a subtitle by an empty one
B_FRAMES = "mpeg4 -bf 2"  # pictures whose order of decoding is another
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


@pytest.fixture
def beside(tmp_path: Path) -> list[Path | str]:
    """Inputs with a subtitle and chapters, for :func:`filmed`."""
    folder = tmp_path / "beside"
    folder.mkdir()
    (folder / "a.srt").write_text("1\n00:00:00,200 --> 00:00:00,900\nGood morning\n")
    parts = "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={500 * n}\nEND={500 * n + 500}\ntitle=Part {n}\n"
        for n in range(2)
    )
    (folder / "a.txt").write_text(f";FFMETADATA1\ntitle=Film\n{parts}")
    (folder / "face.ttf").write_bytes(b"letters")
    return ["-i", folder / "a.srt", "-i", folder / "a.txt"]


def packets(path: Path, index: int) -> list[tuple[bytes, Fraction | None, Fraction | None, bool]]:
    """Bytes, presentation and decoding time in seconds, and key flag of a stream's packets."""
    with av.open(path) as container:
        stream = container.streams[index]

        def seconds(stamp: int | None) -> Fraction | None:
            return None if stamp is None else stamp * Fraction(stream.time_base or 0)

        return [
            (bytes(p), seconds(p.pts), seconds(p.dts), p.is_keyframe)
            for p in container.demux(stream)
            if p.size and bytes(p) != NO_TEXT
        ]


def chapters(container: av.container.InputContainer) -> list[tuple[Fraction, Fraction, str]]:
    return [
        (c["start"] * base, c["end"] * base, c["metadata"]["title"])
        for c in container.chapters()
        if (base := c["time_base"]) is not None
    ]


WITH_ALL = ("-map", "0:v", "-map", "1:a", "-map", "1:a", "-map", "2:s", "-map_metadata", "3")
LANGUAGES = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu")


@pytest.mark.parametrize(
    ("name", "picture", "options"),
    [
        ("a.mp4", B_FRAMES, (*WITH_ALL, "-c:s", "mov_text", *LANGUAGES)),
        ("a.mov", B_FRAMES, ("-map", "0:v", "-map", "1:a", "-c:a", "pcm_s16le")),
        ("a.mkv", B_FRAMES, (*WITH_ALL, "-c:s", "srt", *LANGUAGES)),
        ("a.webm", "libvpx -cpu-used 8", ("-map", "0:v", "-map", "1:a")),
    ],
)
def test_the_picture_stays_byte_for_byte(
    tmp_path: Path, beside: list[str | Path], name: str, picture: str, options: tuple[str, ...]
) -> None:
    source, target = tmp_path / name, tmp_path / f"out_{name}"
    if name == "a.mkv":
        letters = tmp_path / "beside" / "face.ttf"
        options += ("-attach", str(letters), "-metadata:s:t", "mimetype=font/ttf")
    filmed(source, picture, *beside, *options, seconds=2)
    assert pass_on(source, target) == ()

    with av.open(source) as before, av.open(target) as after:
        kinds = [stream.type for stream in before.streams]
        assert [stream.type for stream in after.streams] == kinds
        assert chapters(after) == chapters(before)
        assert len(chapters(after)) == 2
        assert after.metadata.get("title") == before.metadata.get("title")
        languages = [s.metadata.get("language") for s in before.streams]
        assert [s.metadata.get("language") for s in after.streams] == languages
        if name == "a.mkv":
            assert after.streams.attachments[0].data == b"letters"
    denoised = kinds.index("audio")
    for index in range(len(kinds)):
        if index != denoised and kinds[index] != "attachment":
            old, new = packets(source, index), packets(target, index)
            assert old or kinds[index] == "data"  # the track of chapters gives no packets
            assert new == old

    x, y = read_audio(source)[0], read_audio(target)[0]
    assert x.shape == y.shape
    assert lag(x[0], y[0]) == 0
    with AudioReader(source) as old_sound, AudioReader(target) as new_sound:
        assert new_sound.start == pytest.approx(old_sound.start, abs=0.002)  # Matroska counts ms


def test_a_turned_picture_stays_turned(tmp_path: Path) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    filmed(source, "mpeg4")
    data = bytearray(source.read_bytes())
    matrix = data.index(b"tkhd") + 44  # of the first track, the picture
    turned = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    data[matrix : matrix + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in turned)
    source.write_bytes(data)
    pass_on(source, target)

    def rotation(path: Path) -> int:
        with av.open(path) as container:
            return next(container.decode(video=0)).rotation

    assert rotation(source) == rotation(target) == -90


def test_sound_that_pauses_stays_in_time(tmp_path: Path) -> None:
    """A hole in the time stamps, as phones and browsers leave it, becomes silence."""
    tone = ["-f", "lavfi", "-i", "sine=440:r=48000:d=2,asetnsamples=4800"]
    ffmpeg(*tone, "-c:a", "pcm_s16le", tmp_path / "whole.mka")
    hole = "noise=drop=between(pts*tb\\,1\\,1.5)"
    ffmpeg("-i", tmp_path / "whole.mka", "-c", "copy", "-bsf:a", hole, tmp_path / "a.mka")
    x, y = read_audio(tmp_path / "whole.mka")[0], read_audio(tmp_path / "a.mka")[0]
    assert y.shape == x.shape
    assert not y[:, RATE * 11 // 10 : RATE * 14 // 10].any()
    assert np.array_equal(y[:, RATE * 16 // 10 :], x[:, RATE * 16 // 10 :])


def test_the_sound_alone_can_be_taken_out(tmp_path: Path) -> None:
    filmed(tmp_path / "a.mp4", "mpeg4")
    pass_on(tmp_path / "a.mp4", tmp_path / "a.flac")
    assert np.allclose(
        read_audio(tmp_path / "a.flac")[0], read_audio(tmp_path / "a.mp4")[0], atol=1e-4
    )


def test_what_the_output_cannot_hold_is_left_out_and_named(
    tmp_path: Path, beside: list[str | Path]
) -> None:
    letters = ("-attach", tmp_path / "beside" / "face.ttf", "-metadata:s:t", "mimetype=font/ttf")
    source = filmed(tmp_path / "a.mkv", "mpeg4", *beside, *WITH_ALL, "-c:s", "srt", *letters)
    subtitles, letters_too = pass_on(source, tmp_path / "b.mp4")
    assert "subtitle track (srt)" in subtitles
    assert "attachment track (face.ttf)" in letters_too
    old, new = packets(source, 0), packets(tmp_path / "b.mp4", 0)
    assert [p[:2] for p in new] == [p[:2] for p in old]  # Matroska keeps no decoding times


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    filmed(tmp_path / "a.mp4", "mpeg4", "-map", "0:v")
    with pytest.raises(UserError, match=r"a\.mp4 has no sound track: "):
        AudioReader(tmp_path / "a.mp4")


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
        ("a.mp4", "b.mp4", HEVC + " -tag:v hev1", "hev1"),
        ("a.mkv", "b.mp4", HEVC, "hvc1"),
        ("a.ts", "b.mov", HEVC, "hvc1"),
        ("a.mov", "b.mov", "prores_ks -profile:v 3 -pix_fmt yuv422p10le", "apch"),
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
    filmed(film, "libx264", "-i", tmp_path / "a.srt", *streams)
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
    assert list(tmp_path.iterdir()) == [film]
    film = filmed(tmp_path / "a.rm", "rv20 -s 176x144")
    with pytest.raises(UserError, match=r"b\.mkv cannot .* \(rv20\): choose a \.wav name"):
        pass_on(film, tmp_path / "b.mkv")
