"""The small server behind `denoise serve`: the page, and cleaning of what a browser cannot clean.

It listens on this machine alone, and its address holds a secret that another program or another
site does not know. An upload goes to a temporary folder under a name of our own; one recording is
cleaned at a time; the page hears of the progress as server-sent events and fetches the result.

    GET  /TOKEN/...                  a file of the page
    POST /TOKEN/jobs?ending=mp4&strength=80      the body is the recording; answers {"id": ...}
    POST /TOKEN/jobs?ending=avi&as=wav          its sound as it is, where a browser cannot read it
    GET  /TOKEN/jobs/ID/events       {"done", "total"} in seconds ..., then {"ready"} or {"error"}
    GET  /TOKEN/jobs/ID/result       the recording it has made, whole or a range of bytes
    DELETE /TOKEN/jobs/ID            stops it and forgets it

The standard library's server does: it streams bodies both ways, and a thread for each connection
is right for one person.
"""

from __future__ import annotations

import hmac
import json
import mimetypes
import re
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Condition
from typing import Any
from urllib.parse import parse_qs, urlsplit

from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.cleaning.recording import Progress
from audio_denoising.errors import UserError, told
from audio_denoising.media.formats import CONTAINERS, MEDIA_EXTENSIONS, default_output
from audio_denoising.media.reading import AudioReader
from audio_denoising.media.writing import AudioWriter
from audio_denoising.web.page import WEIGHTS, page_files, weights_file

LIMIT = 16 * 2**30  # bytes of one recording
_PIECE = 1 << 20
_PATIENCE = 30  # seconds without a byte
_SLOWEST = 100_000  # bytes per second that an upload has to come to

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; media-src 'self' blob:; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class _Cancelled(Exception):
    """Nobody waits for this recording any more."""


class _Refused(Exception):
    """A request that is answered with a status and a sentence: its arguments."""


class _Job:
    """One recording: where it lies, and what there is to tell of it."""

    def __init__(self, folder: Path, ending: str, strength: float, as_it_is: bool) -> None:
        suffix = f".{ending}".lower()
        self.folder, self.strength, self.as_it_is = folder, strength, as_it_is
        # Of the name outside nothing but a known ending comes in.
        self.input = folder / f"recording{suffix if suffix in MEDIA_EXTENSIONS else ''}"
        self.result = self.input  # until it is clean
        self.cancelled = False
        self.news: dict[str, Any] = {}
        self.changed = Condition()

    def tell(self, **news: Any) -> None:
        with self.changed:
            self.news = news
            self.changed.notify_all()

    @property
    def finished(self) -> bool:
        return "ready" in self.news or "error" in self.news

    def clean(self, denoiser: Denoiser) -> None:
        """Does the work, and tells how it goes."""

        def progress(done: float, total: float) -> None:
            if self.cancelled:
                raise _Cancelled
            self.tell(done=done, total=total)

        try:
            progress(0.0, 0.0)
            suffix = self.input.suffix  # the format of the input, where it can be written
            suffix = suffix if suffix in CONTAINERS else default_output(self.input).suffix
            suffix = ".wav" if self.as_it_is else suffix
            self.result = self.folder / f"result{suffix}"
            if self.as_it_is:
                self._decode(progress)
            else:
                denoiser.denoise_file(
                    self.input, self.result, strength=self.strength, salvage=True, progress=progress
                )
            self.tell(ready=suffix)
        except _Cancelled:
            pass
        except Exception as error:  # of any kind: the page is told, and the next one is cleaned
            sentence, _ = told(error, "denoise clean --debug")
            self.tell(error=re.sub(rf"{re.escape(str(self.folder))}\S*", "the recording", sentence))
        finally:
            self.input.unlink(missing_ok=True)
            if self.cancelled:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _decode(self, progress: Progress) -> None:
        with AudioReader(self.input, salvage=True) as source:
            rate, done = source.rate, 0.0
            with AudioWriter(
                self.result, rate, source.channels, subtype=source.subtype, frames=source.frames
            ) as target:
                for block in source.blocks(10 * rate):
                    target.write(block)
                    done += block.shape[-1] / rate
                    progress(done, max(done, source.frames / rate))


class Server(ThreadingHTTPServer):
    """Serves the page on 127.0.0.1 until it is closed; then nothing of any recording is left.

    The denoiser cleans here, the model in the browser. UserError where the port (0: any that is
    free) is taken, or the model is none for a browser.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, denoiser: Denoiser, model: str | Path = "v5", port: int = 0, limit: int = LIMIT
    ) -> None:
        self.files = {**page_files(), WEIGHTS: weights_file(model)}
        text = f'data-server="yes" data-limit="{limit}"'.encode()
        self.files[""] = self.files["index.html"].replace(b'data-server="no"', text)
        self.denoiser, self.limit = denoiser, limit
        self.token = secrets.token_urlsafe(16)
        self.jobs: dict[str, _Job] = {}
        self.folder = TemporaryDirectory(prefix="denoise-serve-")
        self.worker = ThreadPoolExecutor(1)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"port {port} cannot be used ({error}): choose another, or 0 for any that is free"
            ) from error

    @property
    def address(self) -> str:
        """Where the page is, the secret included."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"

    def start(self, job: _Job) -> str:
        """Puts a recording in the queue and answers its name."""
        self.jobs[job.folder.name] = job
        self.worker.submit(job.clean, self.denoiser)
        return job.folder.name

    def forget(self, name: str) -> None:
        """Stops a recording and removes its files, if it is there."""
        job = self.jobs.pop(name, None)
        if job is not None:
            job.cancelled = True  # its own thread removes what it works on
            if job.finished:
                shutil.rmtree(job.folder, ignore_errors=True)

    def server_close(self) -> None:
        """Stops all work and removes every file."""
        super().server_close()
        for name in list(self.jobs):
            self.forget(name)
        self.worker.shutdown(cancel_futures=True)
        self.folder.cleanup()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hung up is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: an address in a log would give the secret away."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, method: Any) -> None:
        try:
            method(*self._path())
        except _Refused as error:
            status, sentence = error.args
            self.close_connection = True  # what follows may be the rest of a body
            with suppress(OSError):
                self._send_json(status, {"error": sentence})
                self._drop_the_rest()
        except OSError:  # the browser hung up
            self.close_connection = True

    def _drop_the_rest(self) -> None:
        """Takes what still comes, for a while: a browser reads the answer once it has sent all."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and self.rfile.read1(_PIECE):
            pass

    def _path(self) -> list[str]:
        """The parts of the path behind the secret, once it is known that our page asks.

        Raises:
            _Refused: another site's page, another name of this machine, or no secret.
        """
        port = self.server.server_address[1]
        hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        elsewhere = self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        if host not in hosts or origin not in (None, f"http://{host}") or elsewhere:
            raise _Refused(HTTPStatus.FORBIDDEN, "this server answers its own page alone")
        token, *parts = urlsplit(self.path).path.lstrip("/").split("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()) or not parts:
            raise _Refused(HTTPStatus.NOT_FOUND, "open the address that denoise serve has printed")
        return parts

    def _job(self, parts: tuple[str, ...]) -> _Job:
        job = self.server.jobs.get(parts[1]) if len(parts) > 1 and parts[0] == "jobs" else None
        if job is None:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing of this name")
        return job

    def _get(self, *parts: str) -> None:
        if len(parts) == 1 and parts[0] in self.server.files:
            kind = "text/javascript" if parts[0].endswith(".js") else None
            content = self.server.files[parts[0]]
            self._send(HTTPStatus.OK, kind or self._kind(parts[0] or "index.html"), content)
        elif parts[2:] == ("events",):
            self._send_events(parts[1], self._job(parts))
        elif parts[2:] == ("result",) and "ready" in self._job(parts).news:
            self._send_file(self._job(parts).result)
        else:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing of this name")

    def _delete(self, *parts: str) -> None:
        self._job(parts)
        self.server.forget(parts[1])
        self._send_json(HTTPStatus.OK, {})

    def _post(self, *parts: str) -> None:
        if parts != ("jobs",):
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing of this name")
        asked = parse_qs(urlsplit(self.path).query)
        try:
            length = int(self.headers.get("Content-Length", ""))
            strength = float(asked.get("strength", ["100"])[0])
        except ValueError as error:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "say how long the recording is") from error
        if not 0 < length <= self.server.limit:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a recording of {length} bytes is not taken: 1 to {self.server.limit} are",
            )
        root = Path(self.server.folder.name)
        if shutil.disk_usage(root).free < 2 * length:
            raise _Refused(
                HTTPStatus.INSUFFICIENT_STORAGE,
                f"there is too little space in {root.parent}: make room, or set TMPDIR to a folder "
                f"on another disk before denoise serve",
            )
        folder = root / secrets.token_hex(8)
        folder.mkdir()
        job = _Job(folder, asked.get("ending", [""])[0], strength, asked.get("as") == ["wav"])
        try:
            self._receive(job.input, length)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._send_json(HTTPStatus.CREATED, {"id": self.server.start(job)})

    def _receive(self, path: Path, length: int) -> None:
        """The body as a file.

        Raises:
            _Refused: it broke off, came too slowly, or the disk is full.
        """
        end = time.monotonic() + _PATIENCE + length / _SLOWEST
        try:
            with path.open("wb") as file:
                while length:
                    piece = self.rfile.read1(min(_PIECE, length))
                    if not piece or time.monotonic() > end:
                        raise _Refused(HTTPStatus.REQUEST_TIMEOUT, "the upload broke off: again")
                    file.write(piece)
                    length -= len(piece)
        except (ConnectionError, TimeoutError) as error:
            raise _Refused(HTTPStatus.REQUEST_TIMEOUT, "the upload broke off: again") from error
        except OSError as error:
            sentence = f"the recording cannot be stored ({error.strerror}): make room on the disk"
            raise _Refused(HTTPStatus.INSUFFICIENT_STORAGE, sentence) from error

    def _send_events(self, name: str, job: _Job) -> None:
        """What there is to tell, as it comes; who hangs up before the end wants it no more."""
        self.close_connection = True
        self._send_head(HTTPStatus.OK, {"Content-Type": "text/event-stream", "Connection": "close"})
        told_last: dict[str, Any] | None = None
        try:
            while not job.cancelled:
                with job.changed:
                    if job.news is told_last:
                        job.changed.wait(5)
                    news = job.news
                text = ":" if news is told_last else f"data: {json.dumps(news)}"
                self.wfile.write(f"{text}\n\n".encode())
                told_last = news
                if job.finished and news is job.news:
                    return
                time.sleep(0.1)  # ten times a second is enough for a bar
        except OSError:
            self.server.forget(name)

    def _send_file(self, path: Path) -> None:
        """A file, or the one range of its bytes that is asked for."""
        size = path.stat().st_size
        first, last, status = 0, size - 1, HTTPStatus.OK
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked and any(asked.groups()):
            begin, end = asked.groups()
            first = int(begin) if begin else max(0, size - int(end))
            last = min(int(end), size - 1) if begin and end else size - 1
            status = HTTPStatus.PARTIAL_CONTENT
        headers = {"Content-Type": self._kind(path.name), "Accept-Ranges": "bytes"}
        if first > last:
            headers |= {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
            self._send_head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
            return
        if status is HTTPStatus.PARTIAL_CONTENT:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        left = last - first + 1
        self._send_head(status, {**headers, "Content-Length": str(left)})
        with path.open("rb") as file:
            file.seek(first)
            while left and (piece := file.read(min(_PIECE, left))):
                self.wfile.write(piece)
                left -= len(piece)

    def _kind(self, name: str) -> str:
        return mimetypes.guess_type(name)[0] or "application/octet-stream"

    def _send_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self._send_head(status, {"Content-Type": kind, "Content-Length": str(len(content))})
        self.wfile.write(content)

    def _send_head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {**_HEADERS, **headers}.items():
            self.send_header(name, value)
        if self.close_connection and "Connection" not in headers:
            self.send_header("Connection", "close")
        self.end_headers()
