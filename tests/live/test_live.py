"""`denoise live` with a PortAudio that this test plays: devices, refusals, the end, the file."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import time
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

from audio_denoising import Denoiser
from audio_denoising.cli import live as command
from audio_denoising.live import running, session
from tests.cli.command import Result, denoise

NOISY, RATE = soundfile.read("examples/noisy_street.wav", frames=16_000, dtype="float32")


class PortAudioError(Exception):
    """As the library's own."""


class Sound:
    """What the command uses of `sounddevice`: a microphone that says `NOISY`, two loudspeakers."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        self.devices = [
            self.device(0, "USB microphone", ins=1, rate=RATE),
            self.device(1, "Headphones", outs=2),
            self.device(2, "Cable [virtual]", outs=1),
        ]
        self.refusal: tuple[str, str] | None = None
        self.begins = 0
        self.at_end = "interrupt"
        self.played: dict[int, list[np.ndarray]] = {}
        self.rates: list[tuple[int, int]] = []

    @staticmethod
    def device(index: int, name: str, ins: int = 0, outs: int = 0, rate: int = 48_000) -> dict:
        own = {"index": index, "name": name, "hostapi": 0, "default_samplerate": float(rate)}
        return {**own, "max_input_channels": ins, "max_output_channels": outs}

    def query_hostapis(self, index: int) -> dict[str, str]:
        return {"name": "ALSA"}

    def query_devices(self, wanted: int | str | None = None, kind: str = "") -> Any:
        if not kind:
            return self.devices
        fit = [each for each in self.devices if each[f"max_{kind}_channels"]]
        if isinstance(wanted, str):
            fit = [each for each in fit if wanted.lower() in f"{each['name']}, ALSA".lower()]
        elif wanted is not None:
            fit = [each for each in fit if each["index"] == wanted]
        elif not fit:
            raise PortAudioError("Error querying device -1")
        if not fit or (isinstance(wanted, str) and len(fit) > 1):
            raise ValueError("Multiple input devices" if fit else "No input device matching")
        return fit[0]

    def check_input_settings(self, index: int, channels: int, dtype: str, samplerate: int) -> None:
        self.refuse("check")
        if samplerate not in (RATE, 44_100):
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    def check_output_settings(self, index: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate not in (44_100, 48_000):
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    def refuse(self, when: str) -> None:
        if self.refusal and self.refusal[0] == when:
            raise PortAudioError(self.refusal[1])

    def InputStream(self, rate: int, block: int, *rest: Any, callback: Any) -> Device:
        self.refuse("open")
        return Device(self, rate, lambda: self.speak(block, callback))

    def OutputStream(
        self, rate: int, block: int, index: int, channels: int, *rest: Any, callback: Any
    ) -> Device:
        return Device(self, rate, lambda: self.play(block, index, channels, callback))

    def speak(self, block: int, callback: Any) -> None:
        for place in range(0, len(NOISY) - block + 1, block):
            callback(NOISY[place : place + block, None], block, None, self.flags)
            time.sleep(0.002)
        end, self.at_end = self.at_end, self.at_end if self.at_end == "again" else "interrupt"
        if end == "again":
            self.speak(block, callback)
        if end == "gone":
            self.devices, self.unplugged = self.devices[1:], self.devices
        if end == "stopped":
            time.sleep(60)
        if end == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

    def _terminate(self) -> None:
        self.begins += 1

    def _initialize(self) -> None:
        """Sees what was plugged in again the third time."""
        if self.begins == 3:
            self.devices = self.unplugged

    def play(self, block: int, index: int, channels: int, callback: Any) -> None:
        played = self.played.setdefault(index, [])
        for _ in range(10_000):
            played.append(np.full((block, channels), np.nan, np.float32))
            callback(played[-1], block, None, self.flags)
            time.sleep(0.002)

    flags = SimpleNamespace(input_overflow=False, output_underflow=False)


class Device:
    """A stream of the library: calls back on a thread of its own, is not active after that."""

    latency = 0.01

    def __init__(self, sound: Sound, rate: int, work: Any) -> None:
        sound.rates.append(rate)
        self._thread = Thread(target=work, daemon=True)

    @property
    def active(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        pass


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> Sound:
    sound = Sound()
    monkeypatch.setitem(sys.modules, "sounddevice", sound)
    monkeypatch.setattr(session, "_MOST_WAITING", 1000)  # it speaks faster than anyone
    return sound


def live(*arguments: object) -> Result:
    return denoise("live", *arguments)


def test_the_devices_are_listed(sound: Sound) -> None:
    lines = live("--list").out.splitlines()
    assert lines == [
        "  0  USB microphone, ALSA  1 in, 0 out, 16000 Hz",
        "  1  Headphones, ALSA  0 in, 2 out, 48000 Hz",
        "  2  Cable [virtual], ALSA  0 in, 1 out, 48000 Hz",
    ]


def test_ctrl_c_leaves_the_file_whole(sound: Sound, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    end = live("--save", path, "--strength", 80)
    assert (end.code, end.err) == (0, "")
    closing, name = end.out.splitlines()
    assert name == str(path) and list(tmp_path.iterdir()) == [path]
    told = (
        r"1.0 s, noise of -\d\d.\d dB removed, processor \d+.\d %, latency \d+ ms, 0 under-runs, "
    )
    assert re.fullmatch(told + "0 blocks dropped", closing)
    out, rate = soundfile.read(path, dtype="float32")
    whole = Denoiser("v5", device="cpu")(NOISY[: len(out)], RATE, strength=80)
    assert rate == RATE and np.abs(out - whole).max() < 1e-4
    assert not sound.played


def test_the_voice_goes_to_the_output_and_to_the_ears(sound: Sound, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    end = live("--input", 0, "--output", "cable", "--monitor", "--save", path)
    assert end.code == 0, end.err
    assert set(sound.rates) == {44_100}  # the first that all of them know
    out, rate = soundfile.read(path, dtype="float32")
    assert rate == 44_100
    for index, channels in ((1, 2), (2, 1)):
        first = next(block for block in sound.played[index] if block.any())
        assert first.shape[1] == channels
        assert np.array_equal(first, np.repeat(first[:, :1], channels, axis=1))
        places = np.lib.stride_tricks.sliding_window_view(out[: rate // 2], len(first))
        assert np.abs(places - first[:, 0]).max(axis=1).min() < 1e-4


@pytest.mark.parametrize("end", ["gone", "stopped"])
def test_a_microphone_that_goes_away_or_stops_is_waited_for(
    sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    sound.at_end = end
    monkeypatch.setattr(running, "_PAUSE", 0.01)
    if end == "stopped":
        monkeypatch.setattr(running, "_PATIENCE", 1.5)
    result = live("--output", "cable", "--save", tmp_path / "talk.wav")
    assert (result.code, result.err) == (0, "")
    away, back, *_, closing, _ = result.out.splitlines()
    assert away == "USB microphone has stopped: waiting for it"
    assert back == "USB microphone is back"
    assert re.search(r", \d+\.\d s without a microphone$", closing)
    assert soundfile.info(tmp_path / "talk.wav").frames > 2 * len(NOISY) - 750


def test_a_device_that_stays_away_ends_it_with_the_file_whole(
    sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_LONGEST", 1.0)
    sound.at_end, sound.begins = "gone", 4
    end = live("--save", tmp_path / "talk.wav")
    assert end.code == 2
    assert end.sentence == (
        "USB microphone has gone away and was not back in 1 s: plug it in and begin again"
    )
    assert soundfile.info(tmp_path / "talk.wav").duration == pytest.approx(1, abs=0.02)


def test_a_device_that_hangs_does_not_hold_up_the_end(
    sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[tuple[object, ...]] = []
    monkeypatch.setattr(running.atexit, "register", lambda *how: at_exit.append(how))
    monkeypatch.setattr(running, "_PATIENCE", 1.0)
    monkeypatch.setattr(Device, "close", lambda device: time.sleep(60))
    assert live("--save", tmp_path / "talk.wav").code == 0
    assert soundfile.info(tmp_path / "talk.wav").duration == pytest.approx(1, abs=0.02)
    assert (os._exit, 2) in at_exit  # which PortAudio's own end is not waited for


def test_a_microphone_that_gives_nothing_leaves_no_file(
    sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "NOISY", NOISY[:0])
    monkeypatch.setattr(running, "_PATIENCE", 0.3)
    sound.at_end = "stopped"
    sentence = live("--save", tmp_path / "talk.wav").sentence
    assert sentence.startswith("the microphone has given nothing for 0.3 s: is it still plugged in")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of POSIX")
def test_keys_and_meters(sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pty
    import termios

    sound.at_end = "again"
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, emoji=False)
    monkeypatch.setattr(command, "console", screen)
    seen: list[tuple[bool, float]] = []
    meters = command._meters

    def type_next(session: Any, running: Any) -> Any:
        """Presses keys when the screen shows what those before have done."""
        state = (session.bypass, session.strength)
        if state not in seen:
            seen.append(state)
            if keys:
                os.write(keyboard, keys.pop(0))
        return meters(session, running)

    monkeypatch.setattr(command, "_meters", type_next)
    keys = [b" ", b" \x1b[B\x1bOB", b"\x1b[A\x1b[A\x1b[A\x1b[B\x1b[B\x1b[Cx\x1b[B", b"q"]
    keyboard, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    with open(terminal) as stdin:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stdin", stdin)
        end = live("--save", tmp_path / "talk.wav", "--strength", 98)
        assert termios.tcgetattr(terminal) == before
    os.close(keyboard)
    assert (end.code, end.err) == (0, "")
    assert seen == [(False, 98), (True, 98), (False, 88), (False, 85)]
    shown = screen.file.getvalue()
    for words in (
        "microphone",
        "noise removed",
        "strength",
        "98 %",
        "off: you hear",
        "0 under-runs",
    ):
        assert words in shown
    assert soundfile.info(tmp_path / "talk.wav").frames > 1000


def test_a_microphone_that_is_muted_is_told_of(
    sound: Sound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "NOISY", np.zeros(8000, np.float32))
    end = live()
    assert end.code == 0 and "nothing but silence: is it muted" in end.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--input", "nothing"), "--input nothing is no microphone: give its index or a part"),
        (("--input", "1"), "--input 1 is no microphone"),
        (("--output", "a"), "--output a is part of several names: give the index of one"),
        (("--model", "v4"), "v4 hears images of 2.55 s, and live sound needs a network that hears"),
        (("--strength", "120"), "the strength 120 must be from 0 to 100 percent"),
        (("--save", "talk.xyz"), "xyz"),
    ],
)
def test_what_it_refuses(
    sound: Sound,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    end = live(*arguments)
    assert end.code == 2 and words in end.sentence
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_kept(sound: Sound, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"mine")
    assert "exists already" in live("--save", path).sentence
    assert path.read_bytes() == b"mine"
    assert live("--save", path, "--force").code == 0
    assert soundfile.info(path).frames > 15_000


@pytest.mark.parametrize("when", ["check", "open"])
@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ("Device unavailable [PaErrorCode -9985]", "Device unavailable"),  # another program has it
        (
            "Unanticipated host error [PaErrorCode -9999]: 'Permission denied' [ALSA error -13]",
            "Unanticipated host error: 'Permission denied'",
        ),
        ("Invalid sample rate [PaErrorCode -9997]", "Invalid sample rate"),
    ],
)
def test_a_device_that_cannot_be_opened(
    sound: Sound, tmp_path: Path, when: str, refusal: str, told: str
) -> None:
    sound.refusal = when, refusal
    sentence = live("--save", tmp_path / "never.wav").sentence
    assert sentence == (
        f"USB microphone cannot be used ({told}): close the program that holds it, let this one "
        f"use it, or choose another (denoise live --list shows them)"
    )
    assert not list(tmp_path.iterdir())


def test_without_devices(sound: Sound) -> None:
    sound.devices = sound.devices[1:]
    assert live().sentence.startswith("there is no microphone: plug one in")
    sound.devices = []
    assert live("--list").sentence.startswith("there is no sound device: plug one in")


def test_without_the_library_or_portaudio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert live().sentence.endswith("not installed: pip install sounddevice")
    monkeypatch.delitem(sys.modules, "sounddevice")
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    for system, how in (("linux", "apt-get install libportaudio2"), ("darwin", "brew install")):
        monkeypatch.setattr(sys, "platform", system)
        sentence = live("--list").sentence
        assert "PortAudio library not found" in sentence and how in sentence
