"""Films whose time stamps break off, leap or begin below zero: sound and picture stay together.

The films flash white and click at the same moment, once a second; both are looked for in the
result, whose stamps alone count.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from tests.io.test_video import pass_on

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command")

RATE = 48_000
FLASHES = "nullsrc=s=64x48:r=25:d=2,geq=lum='if(eq(mod(N,25),12),235,16)':cb=128:cr=128"
# A click of 2 ms in the middle of every second, as long as a tone is faint below it.
CLICKS = "aevalsrc=0.02*sin(880*t)+0.5*between(mod(t\\,1)\\,0.48\\,0.482):s=48000:d=2"


def ffmpeg(*arguments: str | Path) -> None:
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "plain.mp4"
    inputs = ["-f", "lavfi", "-i", FLASHES, "-f", "lavfi", "-i", CLICKS]
    ffmpeg(*inputs, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "192k", path)
    return path


def moments(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds at which the picture flashes, and at which the sound clicks."""
    flashes, clicks = [], []
    with av.open(path) as container:
        streams = container.streams.video[0], container.streams.audio[0]
        for packet in container.demux(streams):
            for frame in packet.decode() if packet.size or packet.dts is None else ():
                if isinstance(frame, av.VideoFrame):
                    if frame.reformat(format="gray").to_ndarray().mean() > 120:
                        assert frame.time is not None
                        flashes.append(frame.time)
                elif isinstance(frame, av.AudioFrame) and frame.time is not None:
                    loud = np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.25 * full_scale(frame))
                    clicks += [frame.time + k / frame.sample_rate for k in loud]
    firsts = np.array(sorted(clicks))
    return np.array(sorted(flashes)), firsts[np.diff(firsts, prepend=-1) > 0.1]


def full_scale(frame: av.AudioFrame) -> float:
    return {"s16": 2.0**15, "s32": 2.0**31}.get(frame.format.name.removesuffix("p"), 1.0)


def assert_in_sync(path: Path, flashes: int, within: float = 0.0025) -> None:
    seen, heard = moments(path)
    assert len(seen) == len(heard) == flashes
    assert np.abs(heard - seen).max() < within, heard - seen


def joined(*paths: Path) -> Path:
    target = paths[0].with_name(f"joined{paths[0].suffix}")
    target.write_bytes(b"".join(path.read_bytes() for path in paths))
    return target


COPY = ("-c", "copy")
KINDS = {
    ".ts": COPY,
    ".m2ts": COPY,
    ".mkv": COPY,
    ".webm": ("-c:v", "libvpx", "-cpu-used", "8", "-c:a", "libopus"),
    ".mpg": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    ".vob": ("-c:v", "mpeg2video", "-c:a", "ac3"),
    ".flv": COPY,
    ".avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    ".mov": ("-c:v", "mjpeg", "-c:a", "pcm_s16le"),
    ".mxf": ("-c:v", "mpeg2video", "-c:a", "pcm_s16le"),
    ".wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    ".ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
    ".3gp": ("-c:v", "h263", "-s", "176x144", "-c:a", "aac"),
    ".nut": ("-c:v", "ffv1", "-c:a", "flac"),
}


def made(plain: Path, folder: Path, suffix: str, *options: str, name: str = "film") -> Path:
    path = folder / f"{name}{suffix}"
    ffmpeg("-i", plain, *KINDS[suffix], *options, path)
    return path


@pytest.mark.parametrize("suffix", KINDS)
def test_the_sound_stays_with_the_picture(plain: Path, tmp_path: Path, suffix: str) -> None:
    film = made(plain, tmp_path, suffix)
    pass_on(film, tmp_path / "cleaned.mkv")
    before, after = moments(film), moments(tmp_path / "cleaned.mkv")
    assert len(after[0]) == len(after[1]) == 2
    # An encoder's delay that the old container does not tell of is none of ours.
    assert np.allclose(after[1] - after[0], before[1] - before[0], atol=0.0015)


@pytest.mark.parametrize("suffix", [".ts", ".m2ts", ".mkv", ".webm", ".mpg", ".vob"])
def test_joined_films_follow_on_each_other(plain: Path, tmp_path: Path, suffix: str) -> None:
    film = made(plain, tmp_path, suffix)
    alone = np.subtract(*moments(film)).mean()
    times = 2 if suffix in (".mkv", ".webm") else 3  # of these FFmpeg reads no third
    pass_on(joined(*[film] * times), tmp_path / "cleaned.mkv")
    seen, heard = moments(tmp_path / "cleaned.mkv")
    assert len(seen) == len(heard) == 2 * times
    assert np.abs(seen - heard - alone).max() < 0.0025
    assert np.diff(seen).max() < 1.15  # and no pause where they meet


@pytest.mark.parametrize("ahead", ["7200", "20", "95437"])  # the last wraps around in the middle
def test_stamps_that_leap_ahead_are_closed_up(plain: Path, tmp_path: Path, ahead: str) -> None:
    first = made(plain, tmp_path, ".ts")
    second = made(plain, tmp_path, ".ts", "-output_ts_offset", ahead, name="second")
    pass_on(joined(first, second), tmp_path / "cleaned.mkv")
    assert_in_sync(tmp_path / "cleaned.mkv", 4)
    assert moments(tmp_path / "cleaned.mkv")[0].max() < 4


@pytest.mark.parametrize(
    ("suffix", "start"), [(".ts", "95441.5"), (".ts", "50000"), (".mpg", "95000")]
)
def test_stamps_may_begin_anywhere(plain: Path, tmp_path: Path, suffix: str, start: str) -> None:
    film = made(plain, tmp_path, suffix, "-output_ts_offset", start)
    pass_on(film, tmp_path / "cleaned.mkv")
    assert_in_sync(tmp_path / "cleaned.mkv", 2)
    assert moments(tmp_path / "cleaned.mkv")[0].max() < 2
