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
FIRST = ("nice", "-n", "-15") if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
"""Sound waits for nobody: on a busy machine it goes before what else runs, where one may ask so."""
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

        def runs() -> bool:  # the file comes before the devices, of which the output is the last
            saving = any(saved.parent.glob(f".{saved.stem}*"))
            return saving and "ALSA plug-in" in self.run("pactl", "list", "sink-inputs")

        until(lambda: live.poll() is not None or runs(), "the devices were not opened")
        return live


class Recorder:
    """What a source gives, and when: the earliest time at which each sample can have been there."""

    def __init__(self, server: Server, source: str) -> None:
        form = (f"--rate={RATE}", "--channels=1", "--format=s16le", "--raw", "--latency-msec=20")
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
    yield server
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


@pytest.mark.slow
def test_other_programs_hear_the_cleaned_voice_in_time(server: Server, tmp_path: Path) -> None:
    saved = tmp_path / "talk.wav"
    heard, spoken = Recorder(server, "denoised_microphone"), Recorder(server, "room.monitor")
    live = server.live("--input", "pulse", "--output", "pulse", saved=saved)
    server.run("paplay", "--device=room", "--latency-msec=20", str(NOISY))
    time.sleep(0.5)
    live.send_signal(signal.SIGINT)
    told, complaint = live.communicate(timeout=60)
    assert (live.returncode, complaint) == (0, b"")
    cleaned, noisy = heard.end(), spoken.end()

    clean, _ = soundfile.read(ROOT / "examples" / "clean_street.flac")
    file, rate = soundfile.read(saved)
    file = soxr.resample(file, rate, RATE)
    at, before = pieces(noisy, clean)
    later, after = pieces(cleaned, clean)
    lags = later / RATE + heard.begin - at / RATE - spoken.begin
    print(told.decode(), "lags, ms:", np.round(1000 * lags))
    print("SI-SDR:", np.round(before, 1), np.round(after, 1), np.round(pieces(file, clean)[1], 1))
    assert np.median(after - before) > 3
