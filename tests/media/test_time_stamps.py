"""Films whose time stamps break off, leap or begin below zero: sound and picture stay together.

The films flash white and click at the same moment, once a second; both are looked for in the
result, whose stamps alone count.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from audio_denoising.media.reading import AudioReader
from audio_denoising.media.timeline import Timeline, with_gaps
from tests.media.tools import ffmpeg, joined, needs_ffmpeg, pass_on

pytestmark = needs_ffmpeg

RATE = 48_000
FLASHES = "nullsrc=s=64x48:r=25:d=2,geq=lum='if(eq(mod(N,25),12),235,16)':cb=128:cr=128"
# A click of 2 ms in the middle of every second, as long as a tone is faint below it.
CLICKS = "aevalsrc=0.02*sin(880*t)+0.5*between(mod(t\\,1)\\,0.48\\,0.482):s=48000:d=2"


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


COPY = ("-c", "copy")
KINDS = {
    ".ts": COPY,
    ".mkv": COPY,
    ".webm": ("-c:v", "libvpx", "-cpu-used", "8", "-c:a", "libopus"),
    ".mpg": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    ".vob": ("-c:v", "mpeg2video", "-c:a", "ac3"),
    ".flv": COPY,
}


def made(plain: Path, folder: Path, suffix: str, *options: str, name: str = "film") -> Path:
    path = folder / f"{name}{suffix}"
    ffmpeg("-i", plain, *KINDS[suffix], *options, path)
    return path


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".webm", ".mpg", ".vob"])
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


@pytest.mark.parametrize("suffix", [".ts", ".mp4"])
def test_sound_stays_with_the_picture_where_it_overlaps(
    plain: Path, tmp_path: Path, suffix: str
) -> None:
    film, fault = tmp_path / f"film{suffix}", "setts=ts=TS-gte(N\\,6)*0.03/TB"
    ffmpeg("-i", plain, "-c", "copy", "-bsf:a", fault, film)
    pass_on(film, tmp_path / "cleaned.mkv")
    before, after = moments(film), moments(tmp_path / "cleaned.mkv")
    assert len(after[0]) == len(after[1]) == 2
    assert np.allclose(after[1] - after[0], before[1] - before[0], atol=0.0025)


def stamped(stamps: list[float]) -> list[av.AudioFrame]:
    """Frames of 1000 samples with such stamps, in frames."""
    frames = []
    for stamp in stamps:
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), "flt", "mono")
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = round(1000 * stamp) + 77
        frames.append(frame)
    return frames


def test_stamps_that_stand_still_cost_no_sound() -> None:
    found = with_gaps(iter(stamped([0, 1, *[2] * 500])), together=True, step=0.012)
    assert -1 < sum(gap for gap, _ in found) < 0


def test_a_single_wrong_stamp_moves_nothing(plain: Path) -> None:
    with av.open(plain) as container:
        timeline = Timeline(container)
        packets = [p for p in container.demux() if p.dts is not None]
        before = [(p.pts, p.dts) for p in packets]
        for wrong in packets[20], packets[60]:
            wrong.pts, wrong.dts = wrong.pts + 5 * RATE, wrong.dts + 5 * RATE
        for packet in packets:
            timeline.place(packet)
        moved = [n for n, p in enumerate(packets) if (p.pts, p.dts) != before[n]]
        assert moved == [20, 60]


@pytest.mark.parametrize(
    ("stamps", "gaps"),
    [
        ([0, 1, 2, 3, 4], []),
        ([0, 1, 9, 3, 4], []),  # one is wrong
        ([0, 1, 2, 6, 7], [(3, 3)]),
        ([0, 1, 1.2, 2.2, 3.2], [(2, -0.8)]),
        ([0, 1.3, 2, 3.3, 4], []),  # they are inexact
    ],
)
def test_gaps_are_where_all_stamps_behind_agree(
    stamps: list[float], gaps: list[tuple[int, float]]
) -> None:
    frames = stamped([*stamps, *(stamps[-1] + n for n in range(1, 30))])
    found = [gap * RATE / 1000 for gap, _ in with_gaps(iter(frames), together=True, step=0.012)]
    assert [(n, round(gap, 6)) for n, gap in enumerate(found) if gap] == gaps


def test_pictures_that_are_not_shown_move_nothing(plain: Path, tmp_path: Path) -> None:
    """MP4 keeps those before a cut below zero, where Matroska has no time."""
    ffmpeg("-ss", "0.3", "-i", plain, "-c", "copy", tmp_path / "cut.mp4")
    pass_on(tmp_path / "cut.mp4", tmp_path / "cleaned.mkv")
    first, second = (moments(tmp_path / name) for name in ("cut.mp4", "cleaned.mkv"))
    assert len(first[1]) == len(second[1]) == 2
    assert np.allclose(second[1] - second[0][-2:], first[1] - first[0][-2:], atol=0.0015)


def test_a_joined_film_that_is_half_read_is_told_of(plain: Path, tmp_path: Path) -> None:
    film = made(plain, tmp_path, ".flv")
    with AudioReader(joined(film, film)) as reader:
        list(reader.blocks(RATE))
        assert any("last 50 % of" in notice for notice in reader.notices)


def test_packets_that_the_output_refuses_are_counted(plain: Path, tmp_path: Path) -> None:
    """Stamps below zero in Matroska, which FFmpeg writes and reads back in disorder."""
    below = ["-copyts", "-avoid_negative_ts", "disabled", "-output_ts_offset", "-1"]
    ffmpeg("-i", plain, "-c", "copy", *below, tmp_path / "film.mkv")
    (told,) = pass_on(tmp_path / "film.mkv", tmp_path / "cleaned.mkv")
    assert "packets of its picture and other tracks cannot be kept" in told


def test_a_track_that_cannot_be_decoded_hides_no_other(plain: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    tracks = ("-map", "0:v", "-map", "0:a", "-map", "0:a", "-disposition:a:1", "0")
    ffmpeg("-i", plain, *tracks, "-c:v", "copy", "-c:a:0", "ac3", "-c:a:1", "flac", film)
    film.write_bytes(film.read_bytes().replace(b"A_AC3", b"A_XYZ", 1))
    with AudioReader(film) as reader:
        assert reader.subtype == "PCM_24"
        list(reader.blocks(RATE))
        assert any("cannot be decoded here" in notice for notice in reader.notices)
    (told,) = pass_on(film, tmp_path / "cleaned.mkv")
    assert "audio track (of unknown codec)" in told
    assert_in_sync(tmp_path / "cleaned.mkv", 2)
