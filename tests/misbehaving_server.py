"""A real HTTP server on 127.0.0.1 that serves bytes, and misbehaves exactly as a test asks."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Page:
    """What one path answers. Lists are used up from the front, one entry per request.

    ``cut_at``: close the connection when the answer reaches this byte of the file.
    ``status``: answer with this error instead.
    ``ranges``: honour Range. ``lie``: claim a range that starts so many bytes later.
    ``unsized``: send no Content-Length. ``kind``: content type.
    """

    content: bytes
    cut_at: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    ranges: bool = True
    lie: int = 0
    unsized: bool = False
    kind: str = "application/gzip"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """One request that arrived, and how many bytes of the file went out for it."""

    path: str
    range: str | None
    sent: int = 0


class MisbehavingServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Page] = {}
        self.requests: list[Request] = []

    def add(self, path: str, page: Page) -> str:
        """Serves ``page`` at ``path``; returns its address."""
        self.pages[path] = page
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Prints what went wrong here; that a client has gone, as after Ctrl-C, did not."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def sent(self) -> int:
        return sum(request.sent for request in self.requests)


class _Handler(BaseHTTPRequestHandler):
    server: MisbehavingServer

    def do_GET(self) -> None:
        request = Request(self.path, self.headers.get("Range"))
        self.server.requests.append(request)
        page = self.server.pages.get(self.path)
        if page is None or page.status:
            self._head(page.status.pop(0) if page else 404, page, {"Content-Length": "0"})
            return
        asked = re.fullmatch(r"bytes=(\d+)-", request.range or "")
        start, size = int(asked[1]) if asked and page.ranges else 0, len(page.content)
        if start >= size:
            self._head(416, page, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return
        end = page.cut_at.pop(0) if page.cut_at else size
        headers = {} if page.unsized else {"Content-Length": str(size - start)}
        if start:
            headers["Content-Range"] = f"bytes {start + page.lie}-{size - 1}/{size}"
        self._head(206 if start else 200, page, headers)
        body = page.content[start : max(start, end)]
        request.sent = len(body)
        self.wfile.write(body)

    def _head(self, status: int, page: Page | None, headers: dict[str, str]) -> None:
        self.send_response(status)
        if page is not None:
            headers = {"Content-Type": page.kind, **page.headers, **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Tests count requests; nobody reads a log."""


@contextmanager
def running_server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
