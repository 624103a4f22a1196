"""Recordings made on the fly: sound in any of FFmpeg's codecs, and small videos."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

Encode = Callable[..., Path]
Voice = Callable[..., np.ndarray]

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
_FULL_SCALE = {"s16": 2**15, "s32": 2**31}


@pytest.fixture
def voice() -> Voice:
    """``voice(rate, channels)``: noise in the band of speech that swells and fades."""

    def make(rate: int, channels: int, seconds: float = 0.6) -> np.ndarray:
        samples = int(rate * seconds) + 123
        spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal((channels, samples)))
        frequency = np.fft.rfftfreq(samples, 1 / rate)
        spectrum[:, (frequency < 200) | (frequency > 2500)] = 0
        x = np.fft.irfft(spectrum, samples)
        x *= 1 + 0.8 * np.sin(2 * np.pi * 3 * np.arange(samples) / rate)
        return (0.1 * x / x.std()).astype(np.float32)

    return make


def _sound_frames(stream: av.AudioStream, x: np.ndarray, start: float) -> list[av.AudioFrame]:
    """The samples in the stream's format, in frames of a tenth of a second."""
    rate, name = stream.rate, stream.format.name
    raw = x
    if name.removesuffix("p") in _FULL_SCALE:
        scale = _FULL_SCALE[name.removesuffix("p")]
        raw = np.rint(x * float(scale)).astype(f"i{scale.bit_length() // 8}")
    frames = []
    for first in range(0, x.shape[1], rate // 10):
        piece = raw[:, first : first + rate // 10]
        if not name.endswith("p"):
            piece = piece.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), name, stream.layout.name)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = first + round(start * rate)
        frames.append(frame)
    return frames


@pytest.fixture
def encode() -> Encode:
    """``encode(path, codec, x, rate, tags=..., cover=...)`` writes sound with FFmpeg."""

    def write(
        path: Path,
        codec: str,
        x: np.ndarray,
        rate: int,
        *,
        tags: dict[str, str] | None = None,
        cover: bytes = b"",
    ) -> Path:
        options = {"write_id3v2": "1"} if path.suffix == ".aiff" else {}
        if path.suffix in (".m4a", ".mp4", ".mov"):
            options = {"movie_timescale": str(rate)}  # else the length is told in milliseconds
        muxer = {".m4a": "mp4", ".wma": "asf", ".aac": "adts", ".mka": "matroska"}.get(path.suffix)
        with av.open(path, "w", format=muxer, container_options=options) as out:
            bits = 128_000 if codec == "wmav2" else 0
            sound = out.add_stream(codec, rate=rate, layout=_LAYOUTS[len(x)], bit_rate=bits)
            assert isinstance(sound, av.AudioStream)
            out.metadata.update(tags or {})
            if cover:
                picture = out.add_mux_stream("png", width=48, height=48)
                picture.disposition = av.stream.Disposition.attached_pic
                packet = av.Packet(cover)
                packet.stream, packet.pts, packet.dts = picture, 0, 0
                packet.time_base = Fraction(1, 90_000)
                out.start_encoding()
                out.mux(packet)
            for frame in _sound_frames(sound, x, 0):
                out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
        return path

    return write


@pytest.fixture
def film() -> Encode:
    """``film(path, picture_codec, sound_codec, x, rate, ...)`` writes a small video."""

    def write(
        path: Path,
        picture_codec: str,
        sound_codec: str,
        x: np.ndarray,
        rate: int,
        *,
        tracks: int = 1,
        start: float = 0.0,
        subtitles: str = "",
    ) -> Path:
        with av.open(path, "w") as out:
            picture = out.add_stream(picture_codec, rate=10, width=64, height=48)
            assert isinstance(picture, av.VideoStream)
            picture.pix_fmt = "yuv420p"
            if picture_codec == "mpeg4":
                picture.codec_context.max_b_frames = 2  # pts and dts differ
            sounds = []
            for language in ("eng", "deu", "fra")[:tracks]:
                sound = out.add_stream(sound_codec, rate=rate, layout=_LAYOUTS[len(x)])
                assert isinstance(sound, av.AudioStream)
                sound.metadata["language"] = language
                sounds.append(sound)
            out.metadata["title"] = "Film"
            if subtitles:
                text = out.add_mux_stream(subtitles)
                text.time_base = Fraction(1, 1000)
                out.set_chapters(
                    [
                        {
                            "id": n,
                            "start": 500 * n,
                            "end": 500 * n + 500,
                            "time_base": Fraction(1, 1000),
                            "metadata": {"title": f"Part {n}"},
                        }
                        for n in range(2)
                    ]
                )
            if path.suffix == ".mkv":
                out.add_attachment("face.ttf", "font/ttf", b"letters")
            out.start_encoding()
            if subtitles:
                words = b"Good morning"
                packet = av.Packet(
                    words if subtitles == "subrip" else len(words).to_bytes(2, "big") + words
                )
                packet.stream, packet.pts, packet.dts, packet.duration = text, 200, 200, 700
                packet.time_base = text.time_base
                out.mux(packet)
            random = np.random.default_rng(1)
            for n in range(x.shape[1] * 10 // rate):
                pixels = random.integers(0, 255, (72, 64), dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, "yuv420p")
                frame.pts, frame.time_base = n, Fraction(1, 10)
                out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
            for k, sound in enumerate(sounds):
                for frame in _sound_frames(sound, np.roll(x, 999 * k, axis=1), start):
                    out.mux(sound.encode(frame))
                out.mux(sound.encode(None))
        return path

    return write
