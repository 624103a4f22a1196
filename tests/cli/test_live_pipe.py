"""`denoise clean -` between real programs, which end as programs do: well, killed, or too early."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising import Denoiser
from tests.cli.command import CORPUS, ROOT
from tests.media.tools import needs_ffmpeg

RATE = 8_000
SPEECH = np.random.default_rng(1).normal(0, 3000, RATE).astype("<i2").tobytes()
LATE = 2 * 32 * RATE // 1000  # bytes that are held back at most
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
DENOISE = [sys.executable, "-m", "audio_denoising"]
LONGEST = 120  # seconds until a test gives up, on a machine however busy


class Running:
    """The command between two pipes."""

    def __init__(self, stdin: int = subprocess.PIPE, stdout: int = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [*DENOISE, "clean", "-", "--device", "cpu", "--raw", f"{RATE},1"],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            bufsize=0,
        )

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def take(self, size: int) -> bytes:
        """So many bytes at least, while the sender goes on."""
        assert self.process.stdout is not None
        data = b""
        while len(data) < size:
            assert select.select([self.process.stdout], [], [], LONGEST)[0], "nothing comes"
            data += os.read(self.process.stdout.fileno(), 1 << 16)
        return data

    def end(self) -> tuple[int, bytes, str]:
        """The exit code, what was left in standard output, and what was told."""
        out, told = self.process.communicate(timeout=LONGEST)
        return self.process.returncode, out or b"", told.decode()


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    yield running
    running.process.kill()
    running.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_word(running: Running, number: signal.Signals) -> None:
    running.send(SPEECH)
    found = running.take(len(SPEECH) - LATE)
    running.process.send_signal(number)
    code, rest, told = running.end()
    assert (code, rest, told) == (128 + number, b"", "")
    assert len(found) % 2 == 0


def test_a_receiver_that_is_killed(running: Running) -> None:
    running.send(SPEECH)
    running.take(1)
    assert running.process.stdout is not None and running.process.stdin is not None
    running.process.stdout.close()
    running.process.stdout = None
    with pytest.raises(BrokenPipeError):
        while True:
            running.send(SPEECH)
    running.process.stdin = None
    code, _, told = running.end()
    assert code == 2
    assert told == "Error: the program that reads the output stopped before its end\n"


def test_a_sender_that_is_killed() -> None:
    """What it sent is cleaned to the last sample."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sender:
        assert sender.stdin is not None and sender.stdout is not None
        running = Running(stdin=sender.stdout.fileno())
        sender.stdout.close()
        sender.stdin.write(SPEECH)
        sender.stdin.flush()
        found = running.take(len(SPEECH) - LATE)
        sender.kill()
    code, rest, told = running.end()
    samples = np.frombuffer(SPEECH, "<i2")
    wanted = Denoiser(device="cpu")(samples, RATE)
    assert code == 0
    assert np.abs(np.frombuffer(found + rest, "<i2").astype(int) - wanted).max() <= 1
    assert re.fullmatch(r"1\.0 s of audio in .*, model v5-base, device cpu\n", told)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk() -> None:
    with Path("/dev/full").open("wb") as full:
        running = Running(stdout=full.fileno())
        running.send(SPEECH)
        code, _, told = running.end()
    assert code == 2
    assert re.fullmatch(r"Error: the standard output cannot be written \(No space.*\n", told)


@needs_ffmpeg
def test_the_line_of_the_readme(tmp_path: Path) -> None:
    """From a film to a file, by the words of both documents."""
    lines = {
        re.search(r"^ffmpeg .*\| denoise .*$", (ROOT / name).read_text("utf-8"), re.MULTILINE)[0]
        for name in ("README.md", "README.ko.md")
    }
    (line,) = lines
    speech = sorted(CORPUS.glob("LibriSpeech/**/*.flac"))[0]
    quiet = ["ffmpeg", "-v", "error", "-nostdin"]
    subprocess.run([*quiet, "-i", speech, "-t", "4", tmp_path / "in.mp4"], check=True)
    (tmp_path / "denoise").write_text(f'#!/bin/sh\nexec {shlex.join(DENOISE)} "$@"\n')
    (tmp_path / "denoise").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=tmp_path,
        env={**ENVIRONMENT, "PATH": path},
        capture_output=True,
        timeout=LONGEST,
    )
    assert done.returncode == 0, done.stderr
    decoded = [*quiet, "-i", tmp_path / "in.mp4", "-ac", "1", "-ar", "48000"]
    subprocess.run([*decoded, tmp_path / "noisy.wav"], check=True)
    Denoiser(device="cpu").denoise_file(tmp_path / "noisy.wav", tmp_path / "clean.wav")
    found, wanted = (
        soundfile.read(tmp_path / name, dtype="int16")[0].astype(int)
        for name in ("out.wav", "clean.wav")
    )
    assert found.shape == wanted.shape and np.abs(found - wanted).max() <= 1
    assert soundfile.info(tmp_path / "out.wav").samplerate == 48_000
