"""Fetches one large file over HTTP, however often the connection breaks, and shows how it goes.

The bytes go to ``NAME.part``. A later attempt, in this run or in another, asks the server for the
missing ones only (RFC 9110, section 14); a server that ignores ranges makes it start afresh.
Mirrors serve identical copies, so a part begun on one is finished on another; the checksum of the
whole has the last word, in `download`.
"""

from __future__ import annotations

import errno
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from audio_denoising import __version__
from audio_denoising.errors import UserError

_BLOCK = 1 << 18
_TRY_AGAIN = frozenset({408, 416, 425, 429})  # of the 4xx answers; every 5xx is one too
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_GAIN = 1 << 20  # bytes; an attempt that brought so many is no failure
_LONGEST_PAUSE = 60.0  # seconds


class TransferDisplay(Progress):
    """One bar for the work in hand, and lines for what happened; nothing without a console."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console or Console(quiet=True),
            transient=True,
        )
        self._bar: TaskID | None = None

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """A new bar in place of the old one; ``done`` bytes do not count towards the rate."""
        if self._bar is not None:
            self.remove_task(self._bar)
        self._bar = self.add_task(label, total=total, completed=done)

    def reach(self, done: int) -> None:
        """Moves the bar, also backwards where a transfer had to start afresh."""
        if self._bar is not None:
            self.update(self._bar, completed=done)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self.console.print(text, markup=False, soft_wrap=True)


class _Failed(Exception):
    """An attempt failed. ``final``: the same address will not do better later."""

    def __init__(self, reason: str, *, final: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.final = final
        self.wait = wait


@dataclass
class Transfer:
    """One file, its addresses (the preferred one first), and how patiently to try."""

    urls: Sequence[str]
    target: Path  # the finished file; `part` while it grows
    size: int  # in bytes; a server that offers another size is passed over; -1: any will do
    display: TransferDisplay = field(default_factory=TransferDisplay)
    attempts: int = 6  # failures in a row, without a megabyte of new bytes, before giving up
    timeout: float = 30.0  # seconds without a byte after which the connection counts as broken
    # A second before the second attempt, then twice as long every time.
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self.part = self.target.with_name(f"{self.target.name}.part")

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
            self.display.begin(f"Fetching {self.target.name}", self.size, self._have())
            self._persist(part)
        self.part.replace(self.target)

    def _have(self) -> int:
        return self.part.stat().st_size

    def _persist(self, part: IO[bytes]) -> None:
        """Attempt after attempt, until the part is whole."""
        urls = list(self.urls)
        reasons: dict[str, str] = {}
        best, failures = self._have(), 0
        while self._have() != self.size:
            url = urls.pop(0)
            try:
                self._attempt(url, part)
            except _Failed as failure:
                reasons[url] = str(failure)
                gained, wait = self._have() - best, 0.0
                best = max(best, self._have())
                if not failure.final:
                    # Where bytes came, more may come; else the next mirror gets its turn.
                    urls.insert(0 if gained > 0 else len(urls), url)
                    failures = 1 if gained >= _GAIN else failures + 1
                    wait = min(_LONGEST_PAUSE, max(2.0 ** (failures - 1), failure.wait))
                if not urls or failures >= self.attempts:
                    raise UserError(self._hopeless(reasons)) from failure
                then = f"trying again in {wait:.0f} s" if urls[0] == url else f"now {urls[0]}"
                self.display.say(f"{url}: {failure}; {then}")
                if wait:
                    self.sleep(wait)
            else:
                urls.insert(0, url)

    def _hopeless(self, reasons: dict[str, str]) -> str:
        told = "; ".join(f"{url}: {reason}" for url, reason in reasons.items())
        kept = f"the {self._have()} bytes that arrived are kept, " if self._have() else ""
        return (
            f"{self.target.name} could not be fetched ({told}); {kept}run the same command again "
            f"later, or put the archive into {self.target.parent} yourself."
        )

    def _attempt(self, url: str, part: IO[bytes]) -> None:
        """One request. Returns when the part is whole, else raises `_Failed`."""
        if self._have() > self.size:
            self._restart(part)
        headers = {"User-Agent": f"audio-denoising/{__version__}", "Accept-Encoding": "identity"}
        if self._have():
            headers["Range"] = f"bytes={self._have()}-"
        try:
            request = urllib.request.Request(url, headers=headers)
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                self._check(answer, part)
                self._receive(answer, part)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:  # our part does not fit what the server has
                    self._restart(part)
                after = error.headers.get("Retry-After", "")
                raise _Failed(
                    f"the server answers {error.code} {error.reason}",
                    final=error.code < 500 and error.code not in _TRY_AGAIN,
                    wait=float(after) if after.isdigit() else 0.0,
                ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise _Failed(f"the connection failed ({reason or type(reason).__name__})") from error

    def _check(self, answer: http.client.HTTPResponse, part: IO[bytes]) -> None:
        """Refuses what is not the rest of the file, or, to write from its beginning, all of it."""
        if answer.headers.get_content_type() == "text/html":
            raise _Failed("the server sends a web page instead of the archive", final=True)
        total = answer.headers.get("Content-Length", "*")
        if answer.status == 206:
            span = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if span is None or int(span[1]) != self._have():
                self._restart(part)  # the next request asks for everything
                raise _Failed("the server sends another range than asked for")
            total = span[2]
        if self.size < 0 and total != "*":
            self.size = int(total)
        if total not in ("*", str(self.size)):
            raise _Failed(f"the server offers {total} bytes instead of {self.size}", final=True)
        if answer.status != 206:
            self._restart(part)

    def _restart(self, part: IO[bytes]) -> None:
        part.truncate(0)
        self.display.reach(0)

    def _receive(self, answer: http.client.HTTPResponse, part: IO[bytes]) -> None:
        done = part.seek(self._have())
        while block := answer.read1(_BLOCK):
            if done + len(block) > self.size:
                self._restart(part)
                raise _Failed(f"the server sends more than {self.size} bytes", final=True)
            rest = memoryview(block)
            try:
                while rest:  # an unbuffered file may take less than it is given
                    rest = rest[part.write(rest) :]
            except OSError as error:
                full = error.errno == errno.ENOSPC
                raise UserError(
                    f"{self.part} cannot grow ({'the disk is full' if full else error.strerror}); "
                    "make room and run again, what has arrived is kept."
                ) from error
            done += len(block)
            self.display.reach(done)
        if done < self.size:
            raise _Failed(f"the connection broke after {done} of {self.size} bytes")
