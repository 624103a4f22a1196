"""Opens a shard, a file here or on a web server, as one stream of bytes.

A connection that breaks is continued where it broke (RFC 9110, section 14), so that training for
days does not end with one lost packet. Only paths and http(s) addresses are opened: webdataset's
own opener would also run ``pipe:`` addresses as shell commands, and rewrite addresses as an
environment variable says.
"""

from __future__ import annotations

import http.client
import io
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from audio_denoising import __version__
from audio_denoising.errors import UserError

ATTEMPTS = 5  # failures in a row, without a byte between, before giving up
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds before the next attempt, doubled each time
_TIMEOUT = 30.0  # seconds without a byte after which a connection counts as broken
_BUFFER = 1 << 18
_TRY_AGAIN = frozenset({408, 425, 429})  # of the 4xx answers; every 5xx is one too


class LostShard(UserError):
    """A shard cannot be opened, or not be read to its end.

    It keeps its sentence: webdataset appends to the arguments of what passes through it.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class MissingShard(LostShard):
    """There is no such file, here or on the server."""


def is_remote(url: str) -> bool:
    """Whether ``url`` is an http(s) address, not a path."""
    return re.match(r"https?://", url) is not None


def open_shard(url: str, sleep: Callable[[float], None] = time.sleep) -> BinaryIO:
    """The bytes of the file at ``url``, a path or an http(s) address.

    Args:
        sleep: how to wait between attempts.

    Raises:
        MissingShard: no such file.
        LostShard: it cannot be opened. Reading raises it too, once attempts are used up.
    """
    if is_remote(url):
        return cast(BinaryIO, io.BufferedReader(_RemoteFile(url, sleep), _BUFFER))
    try:
        return open(url, "rb", buffering=_BUFFER)  # noqa: PTH123, the caller closes it
    except FileNotFoundError as error:
        raise MissingShard(f"{url} does not exist: check the name of the shards") from error
    except OSError as error:
        raise LostShard(
            f"{url} cannot be read ({error.strerror}): check its permissions"
        ) from error


class _RemoteFile(io.RawIOBase):
    """A file on a web server, read from start to end over as many connections as it takes."""

    def __init__(self, url: str, sleep: Callable[[float], None]) -> None:
        self._url = url
        self._sleep = sleep
        self._position = 0
        self._size: int | None = None
        self._tag: str | None = None  # the server's name for this state of the file
        self._failures = 0
        self._answer: http.client.HTTPResponse | None = None
        while self._answer is None:
            self._try(self._connect)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            count = self._try(lambda: self._receive(buffer))
            if count is not None:
                self._position += count
                return count

    def close(self) -> None:
        self._hang_up()
        super().close()

    def _try(self, action: Callable[[], int | None]) -> int | None:
        """The result of ``action``; None after a failure that is worth another attempt."""
        try:
            result = action()
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (404, 410):
                    raise MissingShard(
                        f"{self._url} does not exist (the server answers {error.code}): check the "
                        "address of the shards"
                    ) from error
                if error.code < 500 and error.code not in _TRY_AGAIN:
                    raise LostShard(
                        f"{self._url} cannot be read (the server answers {error.code} "
                        f"{error.reason}): check the address and your access to it"
                    ) from error
                self._failed(f"the server answers {error.code} {error.reason}", error)
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            self._failed(f"{reason or type(reason).__name__}", error)
        else:
            self._failures = 0 if result else self._failures
            return result
        return None

    def _failed(self, reason: str, error: Exception) -> None:
        self._hang_up()
        self._failures += 1
        if self._failures >= ATTEMPTS:
            raise LostShard(
                f"{self._url} cannot be read beyond byte {self._position}, {ATTEMPTS} attempts in "
                f"a row failed ({reason}): try again later, a training run with --resume"
            ) from error
        self._sleep(min(_LONGEST_PAUSE, _PAUSE * 2 ** (self._failures - 1)))

    def _receive(self, buffer: Any) -> int:
        if self._answer is None:
            self._connect()
        assert self._answer is not None
        count = self._answer.readinto(buffer)
        if count == 0 and self._size is not None and self._position < self._size:
            raise OSError("the connection broke")
        return count

    def _connect(self) -> None:
        headers = {"User-Agent": f"audio-denoising/{__version__}", "Accept-Encoding": "identity"}
        if self._position:
            headers["Range"] = f"bytes={self._position}-"
            if self._tag and self._tag.startswith('"'):  # a weak one proves nothing
                headers["If-Range"] = self._tag
        request = urllib.request.Request(self._url, headers=headers)
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
        tag = answer.headers.get("ETag", "")
        if self._tag is not None and tag != self._tag:
            answer.close()
            raise LostShard(
                f"{self._url} was replaced on the server while it was read: start again, a "
                "training run with --resume"
            )
        self._tag = tag
        self._answer = answer
        length = answer.headers.get("Content-Length")
        if answer.status == 206:
            span = answer.headers.get("Content-Range", "")
            if not span.startswith(f"bytes {self._position}-"):
                raise OSError("the server sends another range than asked for")
        else:
            self._size = int(length) if length and length.isdigit() else None
            self._skip(self._position)

    def _skip(self, count: int) -> None:
        """Passes over what an answer without a range repeats."""
        assert self._answer is not None
        while count:
            block = self._answer.read(min(count, _BUFFER))
            if not block:
                raise OSError("the connection broke")
            count -= len(block)

    def _hang_up(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
