"""The server of `denoise serve`: it cleans what comes, refuses strangers, and leaves nothing."""

from __future__ import annotations

import errno
import http.client
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
import soundfile

from audio_denoising import Denoiser, UserError
from audio_denoising.web import server as web_server
from audio_denoising.web.server import Server
from tests.web.conftest import EXAMPLES, put, wait

STREET = EXAMPLES / "noisy_street.wav"
LIMIT = 40_000_000  # bytes; more than lies on its way between two sockets


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return Denoiser("v5", device="cpu")


@pytest.fixture
def server(denoiser: Denoiser) -> Iterator[Server]:
    opened = Server(denoiser, limit=LIMIT)
    thread = Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    folder = Path(opened.folder.name)
    yield opened
    opened.shutdown()
    thread.join()
    opened.server_close()
    assert not folder.exists()


def ask(
    server: Server, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """One request below the secret; a path that begins with / is taken as it is."""
    address = urlsplit(server.address)
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    whole = path if path.startswith("/") else address.path + path
    connection.request(method, whole, body, {k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, dict(answer.getheaders())


def upload(server: Server, body: bytes, query: str = "") -> str:
    status, content, _ = ask(server, "POST", f"jobs?{query}", body)
    assert status == 201, content
    return str(json.loads(content)["id"])


def events(server: Server, name: str) -> list[dict[str, Any]]:
    """All that the server tells of a recording, to its end."""
    _, content, _ = ask(server, "GET", f"jobs/{name}/events")
    lines = content.decode().split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data")]


def left(server: Server) -> list[str]:
    return [path.name for path in Path(server.folder.name).rglob("*")]


def test_a_recording_comes_back_clean_and_in_ranges(
    server: Server, denoiser: Denoiser, tmp_path: Path
) -> None:
    name = upload(server, STREET.read_bytes(), "ending=wav&strength=70")
    told = events(server, name)
    assert told[-1] == {"ready": ".wav"}
    status, whole, headers = ask(server, "GET", f"jobs/{name}/result")
    denoiser.denoise_file(STREET, tmp_path / "expected.wav", strength=70)
    assert (status, whole) == (200, (tmp_path / "expected.wav").read_bytes())
    assert headers["Content-Type"] in ("audio/x-wav", "audio/wav")
    for asked, (first, end) in {
        "bytes=100-199": (100, 200),
        "bytes=199000-": (199_000, len(whole)),
        "bytes=-50": (len(whole) - 50, len(whole)),
    }.items():
        status, part, headers = ask(server, "GET", f"jobs/{name}/result", Range=asked)
        assert (status, part) == (206, whole[first:end])
        assert headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(whole)}"
    assert ask(server, "GET", f"jobs/{name}/result", Range="bytes=999999-")[0] == 416
    assert ask(server, "DELETE", f"jobs/{name}")[0] == 200
    assert left(server) == [] and ask(server, "GET", f"jobs/{name}/result")[0] == 404


def test_the_picture_of_a_video_stays(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    samples, rate = soundfile.read(STREET, stop=16_000, dtype="int16")
    with av.open(str(path), "w") as film:
        picture, sound = film.add_stream("mpeg4", 25), film.add_stream("pcm_s16le", rate)
        picture.width = picture.height = 32
        picture.pix_fmt = "yuv420p"
        for _ in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
            film.mux(picture.encode(frame))
        film.mux(picture.encode())
        heard = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        heard.sample_rate = rate
        film.mux(sound.encode(heard))
        film.mux(sound.encode())
    name = upload(server, path.read_bytes(), "ending=mkv")
    assert events(server, name)[-1] == {"ready": ".mkv"}
    (tmp_path / "clean.mkv").write_bytes(ask(server, "GET", f"jobs/{name}/result")[1])

    def packets(film: Path) -> list[bytes]:
        with av.open(str(film)) as opened:
            return [bytes(packet) for packet in opened.demux(video=0) if packet.size]

    assert packets(tmp_path / "clean.mkv") == packets(path) != []


def test_what_is_no_sound_gets_a_sentence_without_a_path(server: Server) -> None:
    told = events(server, upload(server, b"Dear madam, " * 99, "ending=../../etc/passwd"))[-1]
    assert "the recording" in told["error"] and "/" not in told["error"].replace("and/or", "")


def test_many_at_once_are_cleaned_one_after_the_other(server: Server) -> None:
    samples, rate = soundfile.read(STREET, stop=4000)
    soundfile.write(short := io.BytesIO(), samples, rate, format="WAV")
    with ThreadPoolExecutor(10) as pool:
        names = set(pool.map(upload, [server] * 10, [short.getvalue()] * 10, ["ending=wav"] * 10))
    assert len(names) == 10
    assert all(events(server, name)[-1] == {"ready": ".wav"} for name in names)


def test_a_recording_nobody_waits_for_is_dropped(server: Server) -> None:
    names = [upload(server, STREET.read_bytes(), "ending=wav") for _ in range(3)]
    for name in names:
        assert ask(server, "DELETE", f"jobs/{name}")[0] == 200
    assert nothing_left(server)


def nothing_left(server: Server) -> bool:
    end = time.monotonic() + 20
    while left(server) and time.monotonic() < end:
        time.sleep(0.05)
    return left(server) == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("", {"Origin": "https://evil.example"}, 403),
        ("", {"Origin": "null"}, 403),
        ("", {"Host": "evil.example"}, 403),  # a name that somebody points at this machine
        ("", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("/", {}, 404),
        ("/wrong-secret/", {}, 404),
        ("../../../etc/passwd", {}, 404),
        ("%2e%2e/server.py", {}, 404),
        ("jobs/../../x/result", {}, 404),
        ("jobs/none/events", {}, 404),
        ("", {"X_Long": "x" * 70_000}, 431),
    ],
)
def test_strangers_are_refused(
    server: Server, path: str, headers: dict[str, str], status: int
) -> None:
    assert ask(server, "GET", path, **headers)[0] == status
    if status == 403:
        answer = ask(server, "POST", "jobs?ending=wav", STREET.read_bytes(), **headers)
        assert answer[0] == 403
    assert left(server) == []


@pytest.mark.parametrize("length", [str(LIMIT + 1), "0", "-1", "many"])
def test_a_wrong_size_is_refused_before_a_byte_is_stored(server: Server, length: str) -> None:
    assert ask(server, "POST", "jobs", b"x", Content_Length=length)[0] in (411, 413)
    assert left(server) == []


def announced(server: Server) -> socket.socket:
    """A line to the server, on which an upload of 100 kB is to come."""
    address = urlsplit(server.address)
    line = socket.create_connection((address.hostname, address.port))
    head = f"POST {address.path}jobs?ending=wav HTTP/1.1\r\nHost: {address.netloc}\r\n"
    line.sendall(f"{head}Content-Length: 100000\r\n\r\n".encode())
    return line


@pytest.mark.parametrize("hang_up", [True, False], ids=["cut off", "slow"])
def test_an_upload_that_does_not_come_leaves_nothing(
    server: Server, hang_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_server._Handler, "timeout", 0.5)
    with announced(server) as line:
        line.sendall(b"RIFF")
        if hang_up:
            line.shutdown(socket.SHUT_WR)
        assert b" 408 " in line.recv(1000)
    assert nothing_left(server)


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(web_server.shutil, "disk_usage", lambda path: usage)


def test_a_full_disk_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_the_disk(monkeypatch)
    status, content, _ = ask(server, "POST", "jobs?ending=wav", bytes(LIMIT))  # sent to its end
    assert status == 507 and "too little space" in json.loads(content)["error"]
    assert left(server) == []


class FullDisk(io.FileIO):
    """A file that takes some bytes and then finds no room."""

    def write(self, piece: Any) -> int:
        super().write(piece[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_during_an_upload_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = STREET.read_bytes()
    monkeypatch.setattr(Path, "open", lambda path, mode="r": FullDisk(path, mode))
    status, content, _ = ask(server, "POST", "jobs?ending=wav", body)
    assert status == 507 and "No space left on device" in json.loads(content)["error"]
    assert left(server) == []


def test_an_upload_that_trickles_is_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "_PATIENCE", 0.2)
    with announced(server) as line:
        pieces = 0
        while not select.select([line], [], [], 0.03)[0]:  # never silent, but far too slow
            line.sendall(b"RIFF")
            pieces += 1
            assert pieces < 300
        assert b" 408 " in line.recv(1000) and pieces > 3
    assert nothing_left(server)


def test_a_server_that_is_stopped_while_it_works_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "audio_denoising", "serve", "--port", "0"]
    running = subprocess.Popen(
        command, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    address = urlsplit(running.stdout.readline().strip())
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    connection.request("POST", f"{address.path}jobs?ending=wav", STREET.read_bytes())
    assert connection.getresponse().status == 201
    assert list(tmp_path.glob("denoise-serve-*/*/*"))
    running.send_signal(signal.SIGTERM)  # Ctrl-C is not heard by what a script starts behind itself
    assert running.wait(60) == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("denoise-*"))  # torch may keep a folder of its own there


def test_a_port_that_is_taken_is_told(server: Server, denoiser: Denoiser) -> None:
    port = server.server_address[1]
    with pytest.raises(UserError, match=f"port {port} cannot be used.*choose another"):
        Server(denoiser, port=port)


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    opened = browser.new_page(locale="en-GB")
    opened.goto(server.address)
    yield opened
    opened.close()


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """A second of the street in a format that Chromium does not read."""
    samples, rate = soundfile.read(STREET, stop=16_000)
    soundfile.write(tmp_path / "talk.aiff", samples, rate)
    return tmp_path / "talk.aiff"


def test_what_the_server_alone_reads_is_compared_like_the_rest(
    page: Any, server: Server, talk: Path, denoiser: Denoiser, tmp_path: Path
) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    put(page, talk)
    assert page.evaluate("[recordings[0].state, player.seconds]") == ["ready", 1]
    sent = page.evaluate("[...recordings[0].sound.channels[0]]")
    assert np.array_equal(np.float32(sent), soundfile.read(talk, dtype="float32")[0])
    page.locator("#strength").fill("60")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save .aiff, by the server").click()
    assert download.value.suggested_filename == "talk_denoised.aiff"
    denoiser.denoise_file(talk, tmp_path / "expected.aiff", strength=60)
    saved = soundfile.read(download.value.path())[0]
    assert np.array_equal(saved, soundfile.read(tmp_path / "expected.aiff")[0])
    page.goto("about:blank")
    assert complaints == [] and nothing_left(server)


def test_what_is_too_long_for_the_page_is_cleaned_at_the_strength_of_the_slider(
    page: Any, server: Server, tmp_path: Path, denoiser: Denoiser
) -> None:
    page.evaluate("most.numbers = 1000")
    put(page, STREET)
    assert page.locator("#stage").is_hidden() and page.locator("#again").is_disabled()
    page.locator("#result-strength").fill("30")
    page.locator("#again").click()
    wait(page, "recordings[0].result?.strength === 30")
    link = page.locator("#result-save")
    assert link.get_attribute("download") == "noisy_street_denoised.wav"
    with page.expect_download() as download:
        link.click()
    denoiser.denoise_file(STREET, tmp_path / "expected.wav", strength=30)
    assert Path(download.value.path()).read_bytes() == (tmp_path / "expected.wav").read_bytes()
    page.locator("#list .remove").click()
    assert nothing_left(server)


@pytest.mark.parametrize(
    ("size", "full", "sentence"),
    [(LIMIT, True, "too little space"), (LIMIT + 1, False, "larger than the server takes")],
    ids=["full disk", "too large"],
)
def test_the_page_says_why_an_upload_was_refused(
    page: Any,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    full: bool,
    sentence: str,
) -> None:
    if full:
        fill_the_disk(monkeypatch)
    film = tmp_path / "film.avi"
    with film.open("wb") as file:
        file.truncate(size)  # with a hole, which takes no room
    put(page, film)
    assert sentence in page.locator("#list span").inner_text()
    assert left(server) == []


def test_the_page_says_that_the_server_stopped(
    page: Any, server: Server, denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clean(*given: object, progress: Any, **options: object) -> None:
        while True:  # until nobody waits any more
            progress(1.0, 9.0)
            time.sleep(0.02)

    monkeypatch.setattr(denoiser, "denoise_file", clean)
    page.evaluate("most.numbers = 1000")
    page.set_input_files("#files", STREET)
    wait(page, "recordings[0].progress > 0")
    server.shutdown()
    server.server_close()
    wait(page, "recordings[0].state === 'failed'")
    assert "Is denoise serve still running?" in page.locator("#list span").inner_text()
