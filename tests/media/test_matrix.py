"""Containers x codecs x layouts x rates x odd time stamps: what must come out as it went in.

Every recording is made by the ffmpeg command, cleaned by a model that changes nothing, and judged
by PyAV alone, against the signal that it was made from: length, order of the channels, place in
time, level; in films also the streams, and that sound and picture moved by the same time.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
import soxr
from torch import Tensor

from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.media.formats import default_output
from audio_denoising.media.reading import AudioReader
from tests.media.tools import arrangement, lag, needs_ffmpeg

pytestmark = needs_ffmpeg

SECONDS = 1.0
SPEAKERS = {"mono": 1, "stereo": 2, "quad": 4, "5.0": 5, "5.1": 6, "5.1(side)": 6}
SPEAKERS |= {"6.1": 7, "7.1": 8}
LOW = dict.fromkeys(("5.1", "5.1(side)", "6.1", "7.1"), 3)  # the channel of low frequencies


@dataclass(frozen=True)
class Sound:
    """A recording without picture: how ffmpeg makes it, and what it becomes.

    Attributes:
        name: its extension tells the container.
        codec: and further options of ffmpeg.
        layout: arrangement of the channels.
        rate: in Hz.
        to: extension of the cleaned recording.
        told: neither container leaves the codec's delay and padding untold.
        late: samples of delay that the cleaned one cannot tell of.
    """

    name: str
    codec: str
    layout: str
    rate: int
    to: str = ".wav"
    told: bool = True
    late: int = 0

    def __str__(self) -> str:
        return f"{self.name}-{self.codec.split()[0]}-{self.layout}-{self.rate}-to-{self.to[1:]}"


SOUNDS = [
    Sound(".wav", "pcm_u8", "mono", 8000),
    Sound(".wav", "pcm_s16le", "stereo", 44_100),
    Sound(".wav", "pcm_s24le", "5.1", 48_000),
    Sound(".wav", "pcm_s16le", "5.1(side)", 48_000, ".flac"),
    Sound(".wav", "pcm_s16le", "5.1(side)", 48_000),
    Sound(".wav", "pcm_s32le", "quad", 96_000, ".flac"),
    Sound(".wav", "pcm_s16le", "quad", 48_000, ".ogg"),
    Sound(".wav", "pcm_s16le", "5.0", 48_000, ".ogg"),
    Sound(".wav", "pcm_s16le", "6.1", 48_000, ".opus"),
    Sound(".wav", "pcm_s16le", "7.1", 48_000, ".opus"),
    Sound(".wav", "pcm_s16le", "7.1", 48_000, ".ogg"),
    Sound(".wav", "pcm_alaw", "mono", 8000, ".mp3"),
    Sound(".wav", "pcm_f32le", "mono", 16_000),
    Sound(".wav", "pcm_f64le", "stereo", 192_000),
    Sound(".wav", "pcm_s64le", "stereo", 11_025),
    Sound(".wav", "adpcm_ms", "stereo", 22_050, told=False),
    Sound(".w64", "pcm_s16le", "5.1", 44_100, ".m4a"),
    Sound(".aiff", "pcm_s24be", "stereo", 44_100, ".aiff"),
    Sound(".caf", "pcm_s16be", "stereo", 48_000, ".caf"),
    Sound(".au", "pcm_s16be", "mono", 11_025),
    Sound(".flac", "flac", "5.0", 48_000, ".mka"),
    Sound(".flac", "flac", "7.1", 48_000, ".flac"),
    Sound(".ogg", "libvorbis", "stereo", 44_100),
    Sound(".ogg", "libvorbis", "5.1", 48_000, ".ogg"),
    Sound(".ogg", "libvorbis", "7.1", 48_000),
    Sound(".opus", "libopus", "mono", 48_000, ".opus"),
    Sound(".opus", "libopus -mapping_family 1", "5.1", 48_000, ".opus"),
    Sound(".opus", "libopus -mapping_family 1", "5.1", 48_000),
    Sound(".mp3", "libmp3lame", "mono", 16_000, ".mp3"),
    Sound(".mp3", "libmp3lame", "stereo", 44_100, ".m4a"),
    Sound(".m4a", "aac", "mono", 22_050, ".m4a"),
    Sound(".m4a", "aac", "5.1", 48_000, ".m4a"),
    Sound(".m4a", "alac", "5.1", 48_000, ".m4a"),
    Sound(".mov", "pcm_s16le", "stereo", 48_000, ".mov"),
    Sound(".mp4", "ac3", "stereo", 48_000, ".mp4", told=False),
    Sound(".mkv", "aac", "mono", 48_000, ".mkv", told=False),
    Sound(".webm", "libopus", "stereo", 48_000, ".webm", told=False),
    Sound(".mka", "pcm_s24le", "6.1", 48_000, ".mka"),
    Sound(".mka", "ac3", "5.1", 48_000, ".mka", told=False),
    Sound(".mka", "dca -strict -2", "5.1", 48_000, told=False),
    Sound(".ac3", "ac3", "5.1", 48_000, told=False),
    Sound(".aac", "aac", "5.1", 48_000, ".aac", told=False, late=1024),
    Sound(".mp2", "mp2", "stereo", 48_000, told=False),
    Sound(".wma", "wmav2 -b:a 128k", "stereo", 44_100, ".wma", told=False),
    Sound(".wv", "wavpack", "5.1", 48_000, ".flac"),
    Sound(".tta", "tta", "stereo", 48_000),
]


def signal(layout: str, rate: int) -> np.ndarray:
    """In every channel a tone of its own and, save in the low one, one burst of noise for all."""
    time = np.arange(round(SECONDS * rate) + 123) / rate  # no whole number of milliseconds
    low = LOW.get(layout, -1)
    frequencies = [60.0 if k == low else 300.0 + 170 * k for k in range(SPEAKERS[layout])]
    x = 0.05 * np.sin(2 * np.pi * np.array(frequencies)[:, None] * time)
    burst = np.random.default_rng(0).standard_normal(len(time))
    spectrum, at = np.fft.rfft(burst), np.fft.rfftfreq(len(time), 1 / rate)
    spectrum[(at < 300) | (at > 3000)] = 0
    burst = np.fft.irfft(spectrum, len(time))
    burst *= 0.15 / burst.std() * np.exp(-(((time - 0.45 * SECONDS) / 0.05) ** 2))
    x[[k for k in range(len(x)) if k != low]] += burst
    return x.astype(np.float32)


def decoded(path: Path) -> tuple[np.ndarray, int, float]:
    """The sound as PyAV has it, its rate, and the time of the first sample."""
    with av.open(path) as container:
        stream = container.streams.best("audio") or container.streams.audio[0]
        packed: av.AudioResampler | None = None
        pieces: list[np.ndarray] = []
        start = 0.0
        for frame in container.decode(stream):
            assert isinstance(frame, av.AudioFrame)
            if packed is None:
                packed = av.AudioResampler("flt", frame.layout, frame.sample_rate)
                rate, channels, start = frame.sample_rate, frame.layout.nb_channels, frame.time or 0
            due = start + sum(piece.shape[1] for piece in pieces) / rate
            if frame.time is not None and frame.time > due + 0.02:  # packets are missing
                pieces.append(np.zeros((channels, round((frame.time - due) * rate)), np.float32))
            pieces += [f.to_ndarray().reshape(-1, channels).T for f in packed.resample(frame)]
        x = np.concatenate(pieces, axis=1)
        if "mp4" in container.format.name and stream.duration and stream.time_base:
            x = x[:, : round(stream.duration * stream.time_base * rate)]  # the edit list's end
    return x, rate, start


def tones(x: np.ndarray, rate: int) -> list[int]:
    """The strongest tone of every channel in Hz, to tens, away from the burst."""
    end = x[:, round(0.65 * SECONDS * rate) : round(0.95 * SECONDS * rate)]
    spectrum = np.abs(np.fft.rfft(end * np.hanning(end.shape[1]), 4 * rate))
    return [round(int(k) / 40) * 10 for k in spectrum.argmax(axis=1)]


def unchanged(image: Tensor) -> Tensor:
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matrix")


def clean(source: Path, target: Path) -> tuple[str, ...]:
    """Clean by a model that changes nothing; what is told of it."""
    return Denoiser(unchanged).denoise_file(source, target).warnings


@pytest.fixture(scope="module")
def recordings(folder: Path) -> dict[Sound, Path]:
    """All of them; ffmpeg makes those of one signal at once."""
    made = {sound: folder / f"{n}{sound.name}" for n, sound in enumerate(SOUNDS)}
    for layout, rate in {(sound.layout, sound.rate) for sound in SOUNDS}:
        raw = folder / "signal.raw"
        raw.write_bytes(signal(layout, rate).T.tobytes())
        shape = ["-f", "f32le", "-ar", str(rate), "-ac", str(SPEAKERS[layout])]
        command = ["ffmpeg", "-v", "error", "-y", *shape, "-i", str(raw)]
        for sound in SOUNDS:
            if (sound.layout, sound.rate) == (layout, rate):
                command += ["-af", f"channelmap=channel_layout={layout}", "-c:a"]
                command += sound.codec.split()
                if sound.name in (".m4a", ".mov", ".mp4"):  # the units in which length is told
                    command += ["-movie_timescale", str(rate)]
                command += [str(made[sound])]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return made


@pytest.mark.parametrize("sound", SOUNDS, ids=str)
def test_sound(recordings: dict[Sound, Path], sound: Sound) -> None:
    source = recordings[sound]
    target = source.with_name(f"{source.stem}_cleaned{sound.to}")
    assert clean(source, target) == ()
    made = signal(sound.layout, sound.rate)
    before, _, _ = decoded(source)
    after, rate, _ = decoded(target)
    assert rate == sound.rate
    assert tones(after, rate) == tones(made, rate)
    assert -1 <= after.shape[1] - made.shape[1] <= (0 if sound.told else 0.1 * rate)
    low = LOW.get(sound.layout)
    places = [lag(made[k], after[k]) for k in range(len(made)) if k != low]
    assert set(places) == {0 if sound.told else lag(made[0], before[0]) + sound.late}
    loud = [10 * np.log10(np.square(x).sum() / np.square(made).sum()) for x in (before, after)]
    assert abs(loud[1] - loud[0]) < 0.3
    if len(made) > 2 and "channels" not in arrangement(source):  # else it tells no order
        assert arrangement(target) == arrangement(source)
    if sound.to == sound.name and sound.codec != "adpcm_ms":
        with AudioReader(source) as old, AudioReader(target) as new:
            assert new.subtype == old.subtype


@dataclass(frozen=True)
class Film:
    """A film: how ffmpeg makes it, and where in it time is odd.

    Attributes:
        name: its extension tells the container.
        picture: codec, and further options of ffmpeg.
        sound: likewise.
        layout: arrangement of the channels.
        rate: in Hz.
        odd: further options that make the time stamps odd.
        late: seconds by which sound (or, negative, picture) begins after the other.
    """

    name: str
    picture: str
    sound: str
    layout: str = "stereo"
    rate: int = 48_000
    odd: str = ""
    late: float = 0.0

    def __str__(self) -> str:
        odd = (self.odd + (f"late {self.late}" if self.late else "")).replace(" ", "")
        return f"{self.name}-{self.picture.split()[0]}-{self.sound.split()[0]}-{self.layout}-{odd}"


H264, VP9 = "libx264 -preset ultrafast", "libvpx-vp9 -deadline realtime -cpu-used 8"
HEVC = "libx265 -preset ultrafast -x265-params log-level=error"
LOST = "-bsf:a noise=drop=between(n\\,15\\,18)"  # four packets of sound
FILMS = [
    Film(".mp4", H264, "aac"),
    Film(".mp4", H264 + " -bf 2", "aac", "5.1"),
    Film(".mp4", HEVC + " -tag:v hvc1", "alac", "stereo", 44_100),
    Film(".mp4", H264, "ac3", "5.1"),
    Film(".mov", "prores -pix_fmt yuv422p10le", "pcm_s24le", "5.1"),
    Film(".mkv", H264, "ac3", "5.1"),
    Film(".mkv", "ffv1", "flac", "stereo", 96_000),
    Film(".mkv", "rawvideo", "libvorbis", "5.1"),
    Film(".webm", "libvpx -cpu-used 8", "libvorbis", "mono", 22_050),
    Film(".webm", VP9, "libopus -mapping_family 1", "5.1"),
    Film(".avi", "mpeg4", "libmp3lame", "stereo", 44_100),
    Film(".avi", "msmpeg4v2", "ac3", "5.1"),
    Film(".ts", H264, "aac"),
    Film(".m2ts", H264, "ac3", "5.1"),
    Film(".vob", "mpeg2video", "ac3", "5.1"),
    Film(".flv", "flv", "libmp3lame", "stereo", 44_100),
    Film(".wmv", "wmv2", "wmav2", "stereo", 44_100),
    Film(".ogv", "libtheora", "libvorbis", "stereo", 44_100),
    Film(".3gp", "h263 -s 176x144", "aac", "mono", 16_000),
    Film(".mxf", "mpeg2video", "pcm_s16le"),
    Film(".mp4", H264, "aac", late=0.4),
    Film(".mp4", H264, "aac", late=-0.4),
    Film(".mkv", H264, "aac", late=0.4),
    Film(".mkv", VP9, "libopus", late=-0.4),
    Film(".mkv", H264, "flac", odd="-output_ts_offset 5"),
    Film(".ts", H264, "aac", odd="-output_ts_offset 95441.8"),
    Film(".mpg", "mpeg2video", "mp2", odd="-output_ts_offset 40000"),
    Film(".ts", H264, "aac", odd=LOST),
    Film(".mkv", "mpeg4", "ac3", odd=LOST),
    Film(".mp4", H264, "aac", odd=LOST),
]


def made(film: Film, folder: Path) -> Path:
    raw = folder / "film.raw"
    raw.write_bytes(signal(film.layout, film.rate).T.tobytes())
    path = folder / f"{FILMS.index(film)}_film{film.name}"
    picture = ["-f", "lavfi", "-i", f"testsrc2=s=64x48:r=25:d={SECONDS}"]
    sound = ["-f", "f32le", "-ar", str(film.rate), "-ac", str(SPEAKERS[film.layout]), "-i", raw]
    late = ["-itsoffset", str(abs(film.late))]
    inputs = [*late, *picture, *sound] if film.late < 0 else [*picture, *late, *sound]
    named = ["-threads", "1", "-af", f"channelmap=channel_layout={film.layout}"]
    codecs = ["-c:v", *film.picture.split(), "-c:a", *film.sound.split()]
    command = ["ffmpeg", "-v", "error", "-y", *inputs, *named, *codecs]
    subprocess.run([*command, *film.odd.split(), path], check=True, stdin=subprocess.DEVNULL)
    return path


def shown(path: Path) -> tuple[list[str], list[tuple[bool, float]]]:
    """The codecs of all streams but the first sound, and key flag and time of each picture."""
    with av.open(path) as container:
        sound = container.streams.audio[0]
        names = [s.codec_context.name for s in container.streams if s is not sound]
        pictures = [
            (
                packet.is_keyframe,
                float((packet.pts if packet.pts is not None else 0) * packet.time_base),
            )
            for packet in container.demux(container.streams.video[0])
            if packet.size
        ]
    return names, pictures


@pytest.mark.parametrize("film", FILMS, ids=str)
def test_film(folder: Path, film: Film) -> None:
    source = made(film, folder)
    target = folder / default_output(source).name
    told = clean(source, target)
    assert ["gaps of" in line for line in told] == [True] * (film.odd == LOST)
    (names, before), (names_after, after) = shown(source), shown(target)
    assert names_after == names
    if "h263" not in names:  # of which FFmpeg takes every picture in Matroska for a key
        assert [key for key, _ in after] == [key for key, _ in before]
    shifts = np.subtract([time for _, time in after], [time for _, time in before])
    assert np.ptp(shifts) <= 0.0021  # stamps are rounded to a millisecond

    if film.layout == "5.1" and "channels" not in arrangement(source):
        assert arrangement(target) == arrangement(source)

    x, rate, start = decoded(source)
    y, rate_after, start_after = decoded(target)
    played = signal(film.layout, film.rate)
    assert tones(y, rate_after) == tones(played, film.rate)
    first = soxr.resample(played[0], film.rate, rate_after)
    heard = start + lag(played[0], x[0]) / rate
    heard_after = start_after + lag(first, y[0]) / rate_after
    assert heard_after - heard == pytest.approx(np.mean(shifts), abs=0.002)
    assert abs(y.shape[1] / rate_after - x.shape[1] / rate) < 0.1
    loud = [10 * np.log10(np.square(z).mean()) for z in (x, y)]
    assert abs(loud[1] - loud[0]) < 1
