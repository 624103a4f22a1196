"""What the tests of sound and video files share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from audio_denoising.media.reading import AudioReader
from audio_denoising.media.writing import AudioWriter

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command")


def ffmpeg(*arguments: str | Path) -> None:
    command = ["ffmpeg", "-v", "error", "-y", "-bitexact", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)


_SOUND = {".wmv": "wmav2", ".rm": "ac3", ".avi": "libmp3lame", ".webm": "libopus"}


def filmed(path: Path, picture: str, *more: str | Path, seconds: float = 0.4) -> Path:
    """A film with a moving picture and noise, made by the ffmpeg command.

    Args:
        path: where to; the ending decides the container, and the sound's codec.
        picture: codec, and options of it.
        more: inputs and options beside those for picture and sound.
        seconds: duration.
    """
    moving = ["-f", "lavfi", "-i", f"testsrc2=s=64x48:r=25:d={seconds}"]
    noise = ["-f", "lavfi", "-i", f"anoisesrc=r=48000:d={seconds}:a=0.1:c=pink"]
    codecs = ["-c:v", *picture.split(), "-c:a", _SOUND.get(path.suffix, "aac"), "-b:a", "128k"]
    inputs = [*more[: 2 * more.count("-i")]]
    ffmpeg(*moving, *noise, *inputs, *codecs, *more[len(inputs) :], path)
    return path


def voice(rate: int, channels: int, seconds: float = 0.6) -> np.ndarray:
    """Noise in the band of speech that swells and fades."""
    samples = int(rate * seconds) + 123
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal((channels, samples)))
    frequency = np.fft.rfftfreq(samples, 1 / rate)
    spectrum[:, (frequency < 200) | (frequency > 2500)] = 0
    x = np.fft.irfft(spectrum, samples)
    x *= 1 + 0.8 * np.sin(2 * np.pi * 3 * np.arange(samples) / rate)
    return (0.1 * x / x.std()).astype(np.float32)


def pass_on(source: Path, target: Path) -> tuple[str, ...]:
    """Read and write a file as the denoiser does; return what was not kept."""
    with (
        AudioReader(source) as reader,
        AudioWriter(
            target,
            reader.rate,
            reader.channels,
            subtype=reader.subtype,
            frames=reader.frames,
            source=reader,
        ) as writer,
    ):
        for block in reader.blocks(20_011):
            writer.write(block)
    return writer.notices


def joined(*paths: Path) -> Path:
    """One file behind the other."""
    target = paths[0].with_name(f"joined{paths[0].suffix}")
    target.write_bytes(b"".join(path.read_bytes() for path in paths))
    return target


def arrangement(path: Path) -> str:
    """The arrangement of the channels that a file tells."""
    with av.open(path) as container:
        return container.streams.audio[0].layout.name


def lag(x: np.ndarray, y: np.ndarray) -> int:
    """Samples by which ``y`` is later than ``x``: where their cross-correlation peaks."""
    n = 2 * max(len(x), len(y))
    correlation = np.fft.irfft(np.conj(np.fft.rfft(x, n)) * np.fft.rfft(y, n), n)
    peak = int(correlation.argmax())
    return peak if peak < n // 2 else peak - n
