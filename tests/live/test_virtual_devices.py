"""`denoise live` with virtual devices: the cable of docs/live.md, on a sound server of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from audio_denoising.dsp.measures import si_sdr

ROOT = Path(__file__).resolve().parents[2]
NOISY = ROOT / "examples" / "noisy_street.wav"
RATE = 16_000
CLEAN, _ = soundfile.read(ROOT / "examples" / "clean_street.flac")
PROMPT = ("chrt", "--rr", "1")
MAY = shutil.which("chrt") and not subprocess.run((*PROMPT, "true"), capture_output=True).returncode
FIRST = PROMPT if MAY else ()
"""As sound servers run where they may: in time, whatever else the machine has to do."""
CABLE = re.findall(r"^pactl .*$", (ROOT / "docs" / "live.md").read_text("utf-8"), re.MULTILINE)


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


class Server:
    """A PulseAudio daemon with a microphone that plays what is put into `room`, and the cable."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_SERVER": f"unix:{folder}/native",
            "PULSE_SOURCE": "room.monitor",
            "PULSE_SINK": "denoised",
            "PYTHONPATH": str(ROOT / "src"),
            "OMP_NUM_THREADS": "1",
        }
        modules = (
            f"module-native-protocol-unix socket={folder}/native auth-anonymous=1",
            "module-null-sink sink_name=room",
        )
        options = [
            "--daemonize=no",
            "--exit-idle-time=-1",
            "--use-pid-file=no",
            "--disable-shm=yes",
        ]
        self.daemon = self.start("pulseaudio", "-n", *options, *(f"--load={m}" for m in modules))
        until((folder / "native").exists, "the sound server has not started")
        for command in CABLE:
            self.run(*shlex.split(command))

    def start(self, *command: str, **settings: Any) -> subprocess.Popen[bytes]:
        quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **settings}
        return subprocess.Popen((*FIRST, *command), env=self.environment, **quiet)

    def run(self, *command: str) -> str:
        return subprocess.run(
            (*FIRST, *command),
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    def live(self, *arguments: object, saved: Path) -> subprocess.Popen[bytes]:
        """Starts `denoise live`, and waits until it hears and plays."""
        words = ("-m", "audio_denoising", "live", *map(str, arguments), "--save", str(saved))
        pipe = subprocess.PIPE
        live = self.start(sys.executable, *words, stdout=pipe, stderr=pipe)

        until(
            lambda: live.poll() is not None or any(saved.parent.glob(f".{saved.stem}*")),
            "the devices were not opened",  # the file comes after them
        )
        return live


class Recorder:
    """What a source gives, and when: the earliest time at which each sample can have been there."""

    def __init__(self, server: Server, source: str) -> None:
        form = (f"--rate={RATE}", "--channels=1", "--format=s16le", "--raw", "--latency-msec=10")
        self._program = server.start("parec", f"--device={source}", *form, stdout=subprocess.PIPE)
        self._bytes, self.begin = b"", float("inf")
        self._thread = Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._program.stdout is not None
        while part := os.read(self._program.stdout.fileno(), 4096):
            self._bytes += part
            self.begin = min(self.begin, time.monotonic() - len(self._bytes) / 2 / RATE)

    def end(self) -> np.ndarray:
        self._program.terminate()
        self._program.wait()
        self._thread.join()
        return np.frombuffer(self._bytes, "<i2") / 2**15


@pytest.fixture
def server() -> Iterator[Server]:
    programs = ("pulseaudio", "pactl", "paplay", "parec")
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install pulseaudio pulseaudio-utils")
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"{error}: pip install sounddevice, apt-get install libportaudio2")
    folder = Path(tempfile.mkdtemp(prefix="sound"))  # the name of a socket must be short
    server = Server(folder)
    try:
        words = (sys.executable, "-m", "audio_denoising", "live", "--list")
        listed, _ = server.start(*words, stdout=subprocess.PIPE).communicate(timeout=60)
        if b" pulse, ALSA " not in listed:
            pytest.skip("PortAudio sees no sound server: apt-get install libasound2-plugins")
        yield server
    finally:
        server.daemon.kill()
        server.daemon.wait()
        shutil.rmtree(folder)


def lag(late: np.ndarray, early: np.ndarray) -> int:
    """Samples by which one signal comes after another."""
    size = len(late) + len(early)
    both = np.fft.irfft(np.fft.rfft(late, size) * np.fft.rfft(early, size).conj(), size)
    place = int(np.argmax(both))
    return place - size if place >= len(late) else place


def pieces(recorded: np.ndarray, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half seconds of a clean signal in a recording: where each begins, and its SI-SDR in dB.

    An under-run or a dropped block moves all that comes after it.
    """
    whole, half, around = lag(recorded, clean), RATE // 2, RATE // 5
    recorded = np.pad(recorded, 2 * RATE)
    found = []
    for place in range(0, len(clean) - half, half):
        piece, first = clean[place : place + half], 2 * RATE + whole + place - around
        near = recorded[first : first + half + 2 * around]
        moved = min(max(lag(near, piece), 0), 2 * around)
        score = si_sdr(near[moved : moved + half], piece)
        found.append((first - 2 * RATE + moved - place, score))
    begins, scores = np.array(found).T
    return begins, scores


def converse(server: Server, saved: Path) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Says the noisy sentence once: what the command told, and piece by piece the lag in seconds,
    the gain of SI-SDR in dB of what other programs heard, and that of the file."""
    heard, spoken = Recorder(server, "denoised_microphone"), Recorder(server, "room.monitor")
    live = server.live("--input", "pulse", "--output", "pulse", saved=saved)
    server.run("paplay", "--device=room", "--latency-msec=10", str(NOISY))
    time.sleep(0.5)
    live.send_signal(signal.SIGINT)
    told, complaint = live.communicate(timeout=60)
    assert (live.returncode, complaint) == (0, b"")
    cleaned, noisy = heard.end(), spoken.end()
    file, rate = soundfile.read(saved)
    at, before = pieces(noisy, CLEAN)
    later, after = pieces(cleaned, CLEAN)
    kept = pieces(soxr.resample(file, rate, RATE), CLEAN)[1]
    voiced = before > -10  # dB; the others are pauses
    lags = (later - at) / RATE + heard.begin - spoken.begin
    return told.decode(), lags[voiced], (after - before)[voiced], (kept - before)[voiced]


@pytest.mark.slow
def test_other_programs_hear_the_cleaned_voice_in_time(server: Server, tmp_path: Path) -> None:
    """The lag is at most v5's 32 ms and 60 ms for the sound server, in and out.

    Other work on the machine can only make it later and worse: the first good try of twelve counts.
    """
    for number in range(12):
        told, lags, gains, kept = converse(server, tmp_path / f"{number}.wav")
        late, better = float(np.median(lags)), float(np.median(gains))
        print(f"{told}{1000 * late:.0f} ms late, SI-SDR {better:.1f} dB better", file=sys.stderr)
        if 0 < late <= 0.092 and better > 3 and np.median(kept) > 3:
            return
    pytest.fail(f"{told}{1000 * late:.0f} ms late, SI-SDR {better:.1f} dB better")


@pytest.mark.slow
def test_a_sound_server_that_ends_leaves_the_file_whole(server: Server, tmp_path: Path) -> None:
    live = server.live("--input", "pulse", "--output", "pulse", saved=tmp_path / "talk.wav")
    speaker = server.start("paplay", "--device=room", "--latency-msec=10", str(NOISY))
    second = 2 * 44_100  # bytes at least
    until(lambda: any(p.stat().st_size > second for p in tmp_path.iterdir()), "nothing is kept")
    server.daemon.kill()
    speaker.wait()
    _, complaint = live.communicate(timeout=60)
    assert live.returncode == 2
    assert complaint.decode() == "Error: pulse has gone away: plug it in and begin again\n"
    assert [path.name for path in tmp_path.iterdir()] == ["talk.wav"]
    assert soundfile.info(tmp_path / "talk.wav").duration > 0.9
