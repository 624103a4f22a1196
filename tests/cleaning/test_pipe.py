"""Pipes: what comes in and goes out, with a header or bare, whole or while it goes on."""

from __future__ import annotations

import io
import os
import select
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import soundfile

from audio_denoising import Denoiser, UserError
from audio_denoising.cleaning.live_pipe import stream_sound
from audio_denoising.cleaning.pipe import clean_pipe, parse_raw, pour, spool
from audio_denoising.cleaning.recording import Report
from audio_denoising.cleaning.settings import Job, Settings
from audio_denoising.media.piped import PipedSound, PipedWriter, Raw

PCM = np.random.default_rng(0).integers(-(2**15), 2**15, (1000, 2)).astype("<i2")
RATE = 16_000
SPEECH = np.random.default_rng(1).normal(0, 3000, 2 * RATE).astype("<i2")
LONGEST = 60  # seconds until a test gives up, on a machine however busy


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return Denoiser("v5", device="cpu")


def wav(samples: np.ndarray, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, subtype, format="WAV")
    return file.getvalue()


def read(data: bytes) -> np.ndarray:
    """The samples of a WAV as 16-bit integers."""
    return soundfile.read(io.BytesIO(data), dtype="int16")[0].astype(int)


def beside(denoiser: Denoiser, samples: np.ndarray, found: np.ndarray, **options: float) -> None:
    """What was found is what the array gives, but for a last bit here and there."""
    wanted = denoiser(samples, RATE, **options).astype(int)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1
    assert np.mean(found != wanted) < 0.01
    assert np.abs(wanted - samples).mean() > 100  # something was taken out


@pytest.fixture
def piped(denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch) -> object:
    """Cleans the bytes of a pipe; that anything is kept until its end fails."""

    def clean(
        content: bytes,
        raw: str | None = None,
        output: Path | None = None,
        into: Path | None = None,
        mode: str = "w",
        **options: float,
    ) -> tuple[bytes, Report]:
        stdout = io.TextIOWrapper(io.BytesIO()) if into is None else into.open(mode)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        monkeypatch.setattr(sys, "stdout", stdout)
        report = clean_pipe(
            "-",
            None if output is None else str(output),
            None if raw is None else parse_raw(raw),
            Settings(**options),  # type: ignore[arg-type]
            lambda: denoiser._cleaner,
            lambda job: pytest.fail(f"{job} was kept"),
        )
        return b"" if into else stdout.buffer.getvalue(), report  # type: ignore[attr-defined]

    return clean


class Running:
    """A sound that is cleaned in a thread, between two pipes of the system."""

    def __init__(self, denoiser: Denoiser, raw: Raw) -> None:
        source, feed = os.pipe()
        self.taken, sink = os.pipe()
        self.feed = os.fdopen(feed, "wb", buffering=0)
        self.report: Report | None = None

        def run() -> None:
            with os.fdopen(source, "rb") as pipe, os.fdopen(sink, "wb") as out:
                sound = PipedSound(pipe, raw)
                self.report = stream_sound(
                    denoiser._cleaner, sound, PipedWriter(out, sound), Settings()
                )

        self.thread = Thread(target=run, daemon=True)
        self.thread.start()

    def take(self, size: int) -> bytes:
        """So many bytes, which must come without any more being sent."""
        data = b""
        while len(data) < size:
            assert select.select([self.taken], [], [], LONGEST)[0], "nothing comes"
            data += os.read(self.taken, size - len(data))
        return data

    def rest(self) -> bytes:
        """Ends the sound; what comes then."""
        self.feed.close()
        data = b""
        while more := os.read(self.taken, 1 << 16):
            data += more
        self.thread.join(LONGEST)
        return data


@pytest.fixture
def running(denoiser: Denoiser) -> Iterator[Running]:
    running = Running(denoiser, Raw(RATE, 1))
    yield running
    running.feed.close()
    running.thread.join(LONGEST)
    os.close(running.taken)


def test_100_ms_of_sound_give_output_before_any_more_comes(
    running: Running, denoiser: Denoiser
) -> None:
    """All but 32 ms; then nothing until the sender goes on, which may take its time."""
    data, step = SPEECH.tobytes(), RATE // 10 * 2
    found = b""
    for start in range(0, step * 10, step):
        running.feed.write(data[start : start + step])
        found += running.take(start + step - 32 * RATE // 1000 * 2 - len(found))
    running.feed.write(data[step * 10 :])
    found += running.rest()
    beside(denoiser, SPEECH, np.frombuffer(found, "<i2").astype(int))
    assert running.report is not None and not running.report.damage


def test_a_sound_cut_anywhere_on_its_way(running: Running, denoiser: Denoiser) -> None:
    """Even in the middle of samples: a pipe knows only bytes."""
    data = SPEECH.tobytes()[: RATE + 1]  # its sender is killed between two bytes of a sample
    for start in range(0, len(data), 333):
        running.feed.write(data[start : start + 333])
    found = np.frombuffer(running.rest(), "<i2").astype(int)
    beside(denoiser, SPEECH[: RATE // 2], found)
    assert running.report is not None
    assert "in the middle of a sample, after 0.50 s" in running.report.damage


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is told by Linux")
def test_memory_does_not_grow_with_the_sound(denoiser: Denoiser) -> None:
    """A third of a minute at 192 kHz, thrice: as much as at 48 kHz four minutes.

    A third is 8 MB, and 15 as numbers.
    """
    raw = Raw(192_000, 1)
    third = np.random.default_rng(0).normal(0, 3000, 20 * raw.rate).astype("<i2").tobytes()
    running, used = Running(denoiser, raw), []
    held = 16_384  # bytes, more than 32 ms
    for number in range(3):
        Thread(target=running.feed.write, args=(third,)).start()
        for part in range(100):
            running.take(len(third) // 100 - (held if number == part == 0 else 0))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used.append(pages * os.sysconf("SC_PAGE_SIZE"))
    assert len(running.rest()) == held
    os.close(running.taken)
    assert used[-1] - used[0] < 8_000_000, used


@pytest.mark.parametrize("told", [None, 0, 2**32 - 1, 2**31 - 2**12])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_is_handed_on_but_for_its_samples(
    piped, denoiser: Denoiser, told: int | None, channels: int, tmp_path: Path
) -> None:
    """With its other chunks; sizes are the sender's, FFmpeg's, or in a file the true ones."""
    samples = SPEECH if channels == 1 else np.stack((SPEECH, SPEECH[::-1]), 1)
    tags = b"LIST" + struct.pack("<I", 18) + b"INFOINAM" + struct.pack("<I", 5) + b"Talk\0\0"
    whole = wav(samples)
    size, head = len(whole) - 44, whole[12:36] + tags + b"data"
    sizes = [len(whole) - 8 + len(tags), size] if told is None else [told, told]
    content = struct.pack("<4sI4s", b"RIFF", sizes[0], b"WAVE") + head
    content += struct.pack("<I", sizes[1]) + whole[44:]
    behind = b"note\x02\0\0\0ab" if told is None else b""
    if behind:
        content = content[:4] + struct.pack("<I", sizes[0] + len(behind)) + content[8:] + behind
    out, report = piped(content)
    assert (report.damage, report.warnings) == ("", ())
    beside_each = read(out).T if channels == 2 else read(out)
    beside(denoiser, samples.T, beside_each)
    true = out[4:8] == struct.pack("<I", len(out) - 8) and head in out
    assert true and out.endswith(behind) and len(out) == len(content)
    path = tmp_path / "out.wav"
    piped(content, into=path)
    assert path.read_bytes() == out
    path.write_bytes(b"before")
    piped(content, into=path, mode="a")  # an end to which one cannot go back
    added = path.read_bytes()[6:]
    assert added[len(added) - len(behind) - size :] == out[len(out) - len(behind) - size :]
    if told is not None:
        assert added[4:8] == struct.pack("<I", 2**32 - 1)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_kind_of_wav_stays_what_it_is(
    piped, denoiser: Denoiser, subtype: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(SPEECH / 2**15, subtype))
    out, _ = piped(path.read_bytes())
    denoiser.denoise_file(path)
    wanted, _ = soundfile.read(tmp_path / "a_denoised.wav")
    found, _ = soundfile.read(io.BytesIO(out))
    assert soundfile.info(io.BytesIO(out)).subtype == subtype
    steps = {"PCM_U8": 2.0**-7, "PCM_24": 2.0**-23}
    assert np.abs(found - wanted).max() <= steps.get(subtype, 2.0**-24) + 1e-7


def test_strength_and_limit_hold(piped, denoiser: Denoiser) -> None:
    out, _ = piped(SPEECH.tobytes(), f"{RATE},1", strength=80, limit=12)
    beside(denoiser, SPEECH, np.frombuffer(out, "<i2").astype(int), strength=80, limit=12)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_live_sound_into_a_file(piped, denoiser: Denoiser, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    floats = (SPEECH / np.float32(2**15)).astype("<f4")
    _, report = piped(floats.tobytes(), f"{RATE},1,f32le", output=path)
    found = np.rint(soundfile.read(path)[0] * 2**15).astype(int)
    beside(denoiser, SPEECH, found)
    assert report.output == path and list(tmp_path.iterdir()) == [path]
    content = wav(SPEECH)
    open_end = content[:40] + bytes(4) + content[44:]
    path.unlink()
    piped(open_end, output=path)
    beside(denoiser, SPEECH, soundfile.read(path, dtype="int16")[0].astype(int))


def test_what_is_before_a_sample_that_is_no_number_is_written(
    piped, denoiser: Denoiser, tmp_path: Path
) -> None:
    broken = (SPEECH / np.float32(2**15)).astype("<f4")
    broken[RATE:] = np.nan
    for content, raw in ((broken.tobytes(), f"{RATE},1,f32le"), (wav(broken, "FLOAT"), None)):
        out, report = piped(content, raw)
        found = np.frombuffer(out[-4 * RATE :], "<f4")
        beside(denoiser, SPEECH[:RATE], np.rint(found * 2.0**15).astype(int))
        assert "not numbers (NaN or infinite), the first after 1.00 s" in report.damage
    _, report = piped(broken.tobytes(), f"{RATE},1,f32le", output=tmp_path / "a.wav")
    assert report.damage and soundfile.info(tmp_path / "a.wav").frames == RATE


def test_a_wav_that_ends_early_or_goes_on(piped, denoiser: Denoiser) -> None:
    content = wav(SPEECH)
    out, report = piped(content[: 44 + 2 * RATE])
    beside(denoiser, SPEECH[:RATE], read(out))
    assert out[4:8] == struct.pack("<I", len(out) - 8) and not report.damage
    assert "ends after 1.00 s, though it tells of 2.00 s" in report.warnings[0]
    out, report = piped(content + content)
    beside(denoiser, SPEECH, read(out))
    assert "goes on behind the end" in report.warnings[0]


@pytest.mark.parametrize("raw", [None, f"{RATE},1"])
def test_nothing_comes(piped, raw: str | None, tmp_path: Path) -> None:
    content = wav(SPEECH[:0]) if raw is None else b""
    for output in (None, tmp_path / "a.wav"):
        with pytest.raises(UserError, match="standard input holds no samples"):
            piped(content, raw, output)
    assert not list(tmp_path.iterdir())
    if raw is not None:  # to a model that waits for the end
        with pytest.raises(UserError, match="^standard input holds no samples"):
            spool(io.BytesIO(b""), tmp_path, Raw(RATE, 1))


@pytest.mark.parametrize("raw", [None, Raw(RATE, 1)])
def test_a_folder_for_a_pipe(
    denoiser: Denoiser, raw: Raw | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Folder(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise IsADirectoryError(21, "Is a directory")

        read1 = read  # type: ignore[assignment]

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Folder()))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(UserError, match=r"standard input cannot be read \(Is a directory\)"):
        clean_pipe("-", None, raw, Settings(), lambda: denoiser._cleaner, lambda job: pytest.fail())


def test_no_network_is_loaded_for_what_is_no_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a letter, not a sound")))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))

    def kept(job: Job) -> Report:
        assert Path(job.input).read_bytes() == b"a letter, not a sound"
        raise UserError("no sound")

    with pytest.raises(UserError, match="no sound"):
        clean_pipe("-", None, None, Settings(), lambda: pytest.fail("loaded"), kept)


@pytest.mark.parametrize("form", ["s16le", "f32le"])
def test_bare_samples_come_and_go_unchanged(form: str, tmp_path: Path) -> None:
    raw = parse_raw(f"48000,2,{form}")
    data = PCM.tobytes() if form == "s16le" else (PCM / np.float32(2**15)).astype("<f4").tobytes()
    path = spool(io.BytesIO(data), tmp_path, raw)
    samples, rate = soundfile.read(path)
    assert rate == 48_000 and np.array_equal(samples * 2**15, PCM)
    out = io.BytesIO()
    pour(path, out, raw)
    assert out.getvalue() == data


def test_a_file_comes_and_goes_unchanged(tmp_path: Path) -> None:
    out = io.BytesIO()
    pour(spool(io.BytesIO(b"any format" * 1000), tmp_path, taken=b"first"), out)
    assert out.getvalue() == b"first" + b"any format" * 1000


def test_a_sample_cut_in_two(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in the middle of a sample.*2 channel"):
        spool(io.BytesIO(PCM.tobytes()[:-1]), tmp_path, Raw(48_000, 2))


@pytest.mark.parametrize(
    "text", ["48000", "48000,0", "1,2,3", "a,b", "48000,-1", "5,1", "8000,1,s24le", "8000,1,s16le,"]
)
def test_a_description_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match=r"not RATE,CHANNELS|sample rate"):
        parse_raw(text)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (BrokenPipeError(), "stopped before its end"),
        (OSError(28, "No space"), r"written \(No space"),
    ],
)
def test_a_reader_that_stops(error: OSError, sentence: str, tmp_path: Path) -> None:
    class Closed(io.BytesIO):
        def write(self, data: object) -> int:
            raise error

    with pytest.raises(UserError, match=sentence):
        pour(spool(io.BytesIO(b"x"), tmp_path), Closed())
