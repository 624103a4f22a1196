"""Fetches one large file over HTTP, however often the connection breaks.

The bytes go to ``NAME.part``. A later attempt, in this run or in another, asks the server for the
missing ones only (RFC 9110, section 14), and proves with ``If-Range`` that the file has not changed
meanwhile. A server that ignores ranges makes it start afresh. Mirrors serve identical copies, so a
part begun on one is finished on another; the checksum of the whole has the last word, elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from audio_denoising import __version__
from audio_denoising.corpora.watching import Watcher
from audio_denoising.errors import UserError

_BLOCK = 1 << 18
_TRY_AGAIN = frozenset({408, 416, 425, 429})  # of the 4xx answers; every 5xx is one too
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class _Failed(Exception):
    """An attempt failed. ``final``: the same address will not do better later."""

    def __init__(self, reason: str, *, final: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.final = final
        self.wait = wait


@dataclass
class Transfer:
    """One file, its addresses, and how patiently to try.

    Args:
        urls: the same file on several servers, the preferred one first.
        target: the finished file; ``target.part`` while it grows.
        size: its size in bytes; a server that offers another size is passed over.
        attempts: failures in a row, without at least ``gain`` new bytes between, before giving up.
        pause: seconds before the second attempt; doubled each time up to ``longest_pause``.
        timeout: seconds without a byte after which the connection counts as broken.
        sleep: how to wait.
    """

    urls: Sequence[str]
    target: Path
    size: int
    watcher: Watcher = field(default_factory=Watcher)
    attempts: int = 6
    gain: int = 1 << 20
    pause: float = 1.0
    longest_pause: float = 60.0
    timeout: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    @property
    def part(self) -> Path:
        """Where the bytes are before all are there."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        """Which address the part came from, and that server's name for this state of the file."""
        return self.target.with_name(f"{self.target.name}.part.json")

    def run(self) -> None:
        """Fetches the file; on return ``target`` exists with the right size.

        Raises:
            UserError: no address could deliver the file, or the disk is full. Whatever has
                arrived stays in ``part``.
        """
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered, so that every byte that arrived survives an interruption.
            part = self.part.open("r+b" if self.part.exists() else "w+b", buffering=0)
        except OSError as error:
            raise UserError(f"{self.part} cannot be written ({error.strerror}).") from error
        with part:
            self.watcher.begin(f"Fetching {self.target.name}", self.size, self._have())
            self._persist(part)
        self.part.replace(self.target)
        self.note.unlink(missing_ok=True)

    def _have(self) -> int:
        return self.part.stat().st_size

    def _persist(self, part: IO[bytes]) -> None:
        """Attempt after attempt, until the part is whole."""
        urls = list(self.urls)
        reasons: dict[str, str] = {}
        best, failures = self._have(), 0
        while self._have() != self.size:
            url = urls[0]
            try:
                self._attempt(url, part)
            except _Failed as failure:
                reasons[url] = str(failure)
                urls.remove(url)
                gained = self._have() - best
                best = max(best, self._have())
                if not failure.final:
                    # Where bytes came, more may come; else the next mirror gets its turn.
                    urls.insert(0 if gained > 0 else len(urls), url)
                    failures = 1 if gained >= self.gain else failures + 1
                if not urls or failures >= self.attempts:
                    raise UserError(self._hopeless(reasons)) from failure
                wait = 0.0
                if not failure.final:
                    wait = min(self.longest_pause, self.pause * 2 ** (failures - 1))
                    wait = max(wait, min(failure.wait, self.longest_pause))
                self.watcher.say(
                    f"{url}: {failure}; "
                    + (f"trying again in {wait:.0f} s" if urls[0] == url else f"now {urls[0]}")
                )
                if wait:
                    self.sleep(wait)

    def _hopeless(self, reasons: dict[str, str]) -> str:
        told = "; ".join(f"{url}: {reason}" for url, reason in reasons.items())
        kept = f"the {self._have()} bytes that arrived are kept, " if self._have() else ""
        return (
            f"{self.target.name} could not be fetched ({told}); {kept}run the same command again "
            f"later, or put the archive into {self.target.parent} yourself."
        )

    def _attempt(self, url: str, part: IO[bytes]) -> None:
        """One request. Returns when the part is whole.

        Raises:
            _Failed: it is not.
        """
        have = self._have()
        if have > self.size:
            self._restart(part)
            have = 0
        try:
            with urllib.request.urlopen(self._request(url, have), timeout=self.timeout) as answer:
                start = self._start(answer, have, part)
                if start == 0:
                    self._restart(part)
                self._remember(url, answer)
                self._receive(answer, part, start)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:  # our part does not fit what the server has
                    self._check_total(error.headers.get("Content-Range", ""))
                    self._restart(part)
                again = error.code in _TRY_AGAIN or error.code >= 500
                raise _Failed(
                    f"the server answers {error.code} {error.reason}",
                    final=not again,
                    wait=_seconds(error.headers.get("Retry-After")),
                ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise _Failed(f"the connection failed ({reason or type(reason).__name__})") from error

    def _request(self, url: str, have: int) -> urllib.request.Request:
        headers = {"User-Agent": f"audio-denoising/{__version__}", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            with contextlib.suppress(OSError, ValueError, AttributeError):
                note = json.loads(self.note.read_text(encoding="utf-8"))
                if note.get("url") == url and note.get("validator"):
                    headers["If-Range"] = note["validator"]
        return urllib.request.Request(url, headers=headers)

    def _start(self, answer: http.client.HTTPResponse, have: int, part: IO[bytes]) -> int:
        """At which byte of the file the body of ``answer`` begins; checks what is on offer."""
        if answer.headers.get_content_type() == "text/html":
            raise _Failed("the server sends a web page instead of the archive", final=True)
        if answer.status != 206:
            self._check_total(f"bytes */{answer.headers.get('Content-Length', '*')}")
            return 0
        span = answer.headers.get("Content-Range", "")
        self._check_total(span)
        match = _RANGE.fullmatch(span)
        if match is None or match[1] is None or int(match[1]) != have:
            self._restart(part)  # the next request asks for everything
            raise _Failed("the server sends another range than asked for")
        return have

    def _check_total(self, content_range: str) -> None:
        match = _RANGE.fullmatch(content_range)
        if match is not None and match[3] != "*" and int(match[3]) != self.size:
            raise _Failed(f"the server offers {match[3]} bytes instead of {self.size}", final=True)

    def _restart(self, part: IO[bytes]) -> None:
        part.seek(0)
        part.truncate()
        self.watcher.advance(0)

    def _remember(self, url: str, answer: http.client.HTTPResponse) -> None:
        """Notes what makes a later `If-Range` possible: a strong ETag, or a date."""
        tag = answer.headers.get("ETag", "")
        validator = tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")
        with contextlib.suppress(OSError):  # without it a resumed transfer is only less sure
            text = json.dumps({"url": url, "validator": validator})
            self.note.write_text(text, encoding="utf-8")

    def _receive(self, answer: http.client.HTTPResponse, part: IO[bytes], start: int) -> None:
        part.seek(start)
        done = start
        while block := answer.read1(_BLOCK):
            if done + len(block) > self.size:
                self._restart(part)
                raise _Failed(f"the server sends more than {self.size} bytes", final=True)
            rest = memoryview(block)
            try:
                while rest:  # an unbuffered file may take less than it is given
                    rest = rest[part.write(rest) :]
            except OSError as error:
                raise UserError(_full(self.part, error)) from error
            done += len(block)
            self.watcher.advance(done)
        if done < self.size:
            raise _Failed(f"the connection broke after {done} of {self.size} bytes")


def _full(part: Path, error: OSError) -> str:
    why = "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror or error)
    return f"{part} cannot grow ({why}); make room and run again, what has arrived is kept."


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdigit() else 0.0
