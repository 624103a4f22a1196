"""The written page behind a plain web server, and how to wait for what happens in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from audio_denoising.web.page import write_page

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page as `denoise page` writes it."""
    folder = tmp_path_factory.mktemp("site")
    write_page(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def wait(page: Any, condition: str, arg: object = None, seconds: float = 60) -> Any:
    """Waits until an expression of JavaScript is true and answers its value.

    Playwright's own waiting evaluates text in the page, which the page's security policy forbids.
    """
    end = time.monotonic() + seconds
    while not (value := page.evaluate(condition, arg)):
        assert time.monotonic() < end, f"never true: {condition}"
        page.wait_for_timeout(30)
    return value


def put(page: Any, *files: Any) -> None:
    """Chooses files and waits until each is clean or refused."""
    page.set_input_files("#files", list(files))
    wait(page, "recordings.length && recordings.every((r) => /ready|failed/.test(r.state))")
