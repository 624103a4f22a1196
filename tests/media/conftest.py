"""Recordings made on the fly: sound in any of FFmpeg's codecs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

Encode = Callable[..., Path]
Voice = Callable[..., np.ndarray]

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


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


def _frames(stream: av.AudioStream, x: np.ndarray) -> Iterator[av.AudioFrame]:
    """The samples in the stream's format, in frames of a tenth of a second."""
    rate, name = stream.rate, stream.format.name
    bits = {"s16": 16, "s32": 32}.get(name.removesuffix("p"))
    raw = x if bits is None else np.rint(x * 2.0 ** (bits - 1)).astype(f"i{bits // 8}")
    for first in range(0, x.shape[1], rate // 10):
        piece = raw[:, first : first + rate // 10]
        if not name.endswith("p"):
            piece = piece.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), name, stream.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), first
        yield frame


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
            for frame in _frames(sound, x):
                out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
        return path

    return write
