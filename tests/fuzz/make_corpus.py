"""Makes the good files that fuzzing starts from: ``python tests/fuzz/make_corpus.py``.

Each is as short as its format allows, so that a damage hits something that matters.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

CORPUS = Path(__file__).resolve().parent / "corpus"
RATE = 8_000
_LAYOUTS = {1: "mono", 2: "stereo"}


def sound(samples: int, channels: int = 1) -> np.ndarray:
    """Two tones and a little noise, ``(samples, channels)``."""
    time = np.arange(samples)[:, None] / RATE
    tones = 0.2 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 1300 * time)
    noise = np.random.default_rng(0).standard_normal((samples, channels))
    return (tones + 0.01 * noise).astype(np.float32)


def by_libsndfile() -> None:
    """The formats that libsndfile writes."""
    for name, container, subtype, samples, channels in (
        ("pcm16.wav", "WAV", "PCM_16", 800, 1),
        ("pcm24_stereo.wav", "WAVEX", "PCM_24", 400, 2),
        ("float.wav", "WAV", "FLOAT", 400, 1),
        ("double.wav", "WAV", "DOUBLE", 200, 1),
        ("pcm8_six.wav", "WAVEX", "PCM_U8", 200, 6),
        ("alaw.wav", "WAV", "ALAW", 600, 1),
        ("ima.wav", "WAV", "IMA_ADPCM", 1010, 1),
        ("gsm.wav", "WAV", "GSM610", 1600, 1),
        ("large.rf64", "RF64", "PCM_16", 400, 1),
        ("pcm16.flac", "FLAC", "PCM_16", 1200, 1),
        ("pcm24_stereo.flac", "FLAC", "PCM_24", 400, 2),
        ("vorbis.ogg", "OGG", "VORBIS", 1600, 1),
        ("opus.opus", "OGG", "OPUS", 1600, 1),
        ("pcm16.aiff", "AIFF", "PCM_16", 400, 2),
        ("pcm16.caf", "CAF", "PCM_16", 400, 1),
        ("pcm16.w64", "W64", "PCM_16", 400, 1),
        ("ulaw.au", "AU", "ULAW", 400, 1),
    ):
        data = sound(samples, channels)
        soundfile.write(CORPUS / name, data, RATE, subtype=subtype, format=container)


def by_ffmpeg(name: str, muxer: str, codec: str, samples: int, channels: int = 1) -> None:
    """A file that FFmpeg writes, with a title and, where it is a film, picture and chapters."""
    film = name.endswith((".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts"))
    with av.open(str(CORPUS / name), "w", format=muxer) as out:
        out.metadata["title"] = "A title"
        bits = 32_000 if codec == "wmav2" else 0
        track = out.add_stream(codec, rate=RATE, layout=_LAYOUTS[channels], bit_rate=bits)
        picture = None
        if film:
            picture = out.add_stream("mpeg4" if muxer != "webm" else "libvpx", rate=10)
            picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
            whole = {"id": 1, "start": 0, "end": 100, "time_base": Fraction(1, 1000)}
            if muxer in ("mp4", "matroska"):
                out.set_chapters([{**whole, "metadata": {"title": "Part"}}])
        for n in range(3 if film else 0):
            image = av.VideoFrame.from_ndarray(np.full((48, 32), 40 * n, np.uint8), "yuv420p")
            image.pts, image.time_base = n, Fraction(1, 10)
            out.mux(picture.encode(image))
        kind = track.format.name
        data = sound(samples, channels)
        raw = data
        if not kind.startswith("flt"):
            bits = int(kind.strip("sp"))
            raw = np.rint(data * 2.0 ** (bits - 1)).astype(f"i{bits // 8}")
        raw = raw.T if kind.endswith("p") else raw.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(raw), kind, _LAYOUTS[channels])
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
        if film:
            out.mux(picture.encode(None))


def main() -> None:
    """Writes them all."""
    CORPUS.mkdir(exist_ok=True)
    by_libsndfile()
    for name, muxer, codec, samples, channels in (
        ("mono.mp3", "mp3", "libmp3lame", 2400, 1),
        ("stereo.mp3", "mp3", "libmp3lame", 2400, 2),
        ("tagged.flac", "flac", "flac", 1600, 1),
        ("film.mp4", "mp4", "aac", 3000, 1),
        ("film_lossless.mp4", "mp4", "alac", 1200, 2),
        ("film.mov", "mov", "pcm_s16le", 600, 1),
        ("film.mkv", "matroska", "aac", 3000, 1),
        ("film.avi", "avi", "pcm_s16le", 600, 1),
        ("film.ts", "mpegts", "aac", 3000, 1),
        ("sound.m4a", "ipod", "aac", 3000, 2),
        ("lossless.m4a", "ipod", "alac", 1200, 1),
        ("sound.aac", "adts", "aac", 3000, 1),
        ("sound.wma", "asf", "wmav2", 2000, 1),
        ("sound.amr", "amr", "libopencore_amrnb", 1600, 1),
    ):
        by_ffmpeg(name, muxer, codec, samples, channels)


if __name__ == "__main__":
    main()
