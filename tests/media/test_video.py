"""Videos: the picture and all that goes with it stay untouched, the sound stays in time."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from audio_denoising.errors import UserError
from audio_denoising.media.reading import AudioReader, read_audio
from audio_denoising.media.writing import AudioWriter
from tests.media.tools import lag, pass_on

Make = Callable[..., Path]
Packets = list[tuple[bytes, Fraction | None, Fraction | None, bool]]
RATE = 48_000
NO_TEXT = b"\0\0"  # MP4 marks the end of a subtitle by an empty one


def packets(path: Path, index: int) -> Packets:
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


@pytest.mark.parametrize(
    ("name", "picture", "sound", "options"),
    [
        ("a.mp4", "mpeg4", "aac", {"subtitles": "mov_text"}),
        ("a.mov", "mpeg4", "pcm_s16le", {"tracks": 2}),
        ("a.mkv", "mpeg4", "libopus", {"tracks": 3, "subtitles": "subrip", "start": 0.3}),
        ("a.webm", "libvpx", "libopus", {}),
    ],
)
def test_the_picture_stays_byte_for_byte(
    tmp_path: Path,
    film: Make,
    voice: Callable[..., np.ndarray],
    name: str,
    picture: str,
    sound: str,
    options: dict[str, object],
) -> None:
    source, target = tmp_path / name, tmp_path / f"out_{name}"
    film(source, picture, sound, voice(RATE, 2, seconds=2.0), RATE, **options)
    assert pass_on(source, target) == ()

    with av.open(source) as before, av.open(target) as after:
        kinds = [stream.type for stream in before.streams]
        assert [stream.type for stream in after.streams] == kinds
        assert chapters(after) == chapters(before)
        assert bool(chapters(after)) == ("subtitles" in options)
        assert after.metadata["title"] == "Film"
        languages = [s.metadata.get("language") for s in before.streams]
        assert [s.metadata.get("language") for s in after.streams] == languages
    denoised = kinds.index("audio")
    for index in range(len(kinds)):
        if index != denoised and kinds[index] != "attachment":
            old, new = packets(source, index), packets(target, index)
            assert old or kinds[index] == "data"  # the track of chapters gives no packets
            if sound.startswith("pcm") and kinds[index] == "audio":  # cut anew, but not changed
                old, new = ([(b"".join(p[0] for p in track),)] for track in (old, new))  # type: ignore[list-item]
            assert new == old
    if name.endswith(".mkv"):
        with av.open(target) as after:
            assert after.streams.attachments[0].data == b"letters"

    x, y = read_audio(source)[0], read_audio(target)[0]
    assert x.shape == y.shape
    assert lag(x[0], y[0]) == 0
    with AudioReader(source) as old_sound, AudioReader(target) as new_sound:
        assert new_sound.start == pytest.approx(old_sound.start, abs=0.002)  # Matroska counts ms


def test_a_turned_picture_stays_turned(
    tmp_path: Path, film: Make, voice: Callable[..., np.ndarray]
) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    film(source, "mpeg4", "aac", voice(RATE, 1), RATE)
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


def test_sound_that_pauses_stays_in_time(
    tmp_path: Path, film: Make, voice: Callable[..., np.ndarray]
) -> None:
    """A hole in the time stamps, as phones and browsers leave it, becomes silence."""
    x = voice(RATE, 1, seconds=2.0)
    with av.open(tmp_path / "a.mkv", "w") as out:
        sound = out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        assert isinstance(sound, av.AudioStream)
        for first in range(0, RATE * 2, RATE // 2):
            if first != RATE:
                samples = np.rint(x[:, first : first + RATE // 2] * 32_768).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
                frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), first
                out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    y, _ = read_audio(tmp_path / "a.mkv")
    assert y.shape == (1, RATE * 2)
    assert not y[:, RATE : RATE * 3 // 2].any()
    assert np.allclose(y[:, RATE * 3 // 2 :], x[:, RATE * 3 // 2 : RATE * 2], atol=1e-4)


def test_the_sound_alone_can_be_taken_out(
    tmp_path: Path, film: Make, voice: Callable[..., np.ndarray]
) -> None:
    film(tmp_path / "a.mp4", "mpeg4", "aac", voice(RATE, 2), RATE)
    pass_on(tmp_path / "a.mp4", tmp_path / "a.flac")
    assert np.allclose(
        read_audio(tmp_path / "a.flac")[0], read_audio(tmp_path / "a.mp4")[0], atol=1e-4
    )


def test_a_picture_the_output_cannot_hold_is_refused(
    tmp_path: Path, film: Make, voice: Callable[..., np.ndarray]
) -> None:
    source = film(tmp_path / "a.mkv", "mpeg4", "libopus", voice(RATE, 2), RATE)
    with pytest.raises(UserError, match=r"b\.webm cannot hold .*mpeg4.*choose a \.mkv name"):
        pass_on(source, tmp_path / "b.webm")
    assert list(tmp_path.iterdir()) == [source]


def test_subtitles_the_output_cannot_hold_are_left_out_and_named(
    tmp_path: Path, film: Make, voice: Callable[..., np.ndarray]
) -> None:
    source = film(tmp_path / "a.mkv", "mpeg4", "aac", voice(RATE, 2), RATE, subtitles="subrip")
    subtitles, letters = pass_on(source, tmp_path / "b.mp4")
    assert "subtitle track (srt)" in subtitles
    assert "attachment track (face.ttf)" in letters
    old, new = packets(source, 0), packets(tmp_path / "b.mp4", 0)
    assert [p[:2] for p in new] == [p[:2] for p in old]  # Matroska keeps no decoding times


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    with av.open(tmp_path / "a.mp4", "w") as out:
        picture = out.add_stream("mpeg4", rate=10, width=64, height=48)
        assert isinstance(picture, av.VideoStream)
        out.mux(picture.encode(av.VideoFrame(64, 48, "yuv420p")))
        out.mux(picture.encode(None))
    with pytest.raises(UserError, match=r"a\.mp4 has no sound track: "):
        AudioReader(tmp_path / "a.mp4")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_video_leaves_nothing(
    tmp_path: Path, film: Make, voice: Callable[..., np.ndarray], error: type[BaseException]
) -> None:
    source = film(tmp_path / "a.mp4", "mpeg4", "aac", voice(RATE, 2), RATE)
    with (
        AudioReader(source) as reader,
        pytest.raises(error),
        AudioWriter(tmp_path / "b.mp4", RATE, 2, source=reader) as writer,
    ):
        writer.write(np.zeros((2, RATE), np.float32))
        raise error
    assert list(tmp_path.iterdir()) == [source]
