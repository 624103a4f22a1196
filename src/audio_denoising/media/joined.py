"""Files joined from several recordings: whether another begins where the first should end."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Literal

Order = Literal["little", "big"]
_ORDERS: dict[bytes, Order] = {b"RIFF": "little", b"RF64": "little", b"FORM": "big"}
# How AU, CAF, TTA and ASF begin -> so many bytes are the same at the beginning of the next.
_HEADS = {b".snd": 8, b"caff": 8, b"TTA1": 8, b"\x30\x26\xb2\x75": 16}
_MP4_HEAD = 12  # bytes: the size of the first box, ftyp and the brand


def order_of(head: bytes) -> Order | None:
    """The byte order of a WAV or AIFF that begins like this; None for others (AVI is RIFF, too)."""
    return _ORDERS.get(head[:4]) if head[8:12] in (b"WAVE", b"AIFF", b"AIFC") else None


def is_followed(path: Path) -> bool:
    """Whether another file begins where this one should end.

    Most kinds of files are read to the end, whatever they are joined from. Those whose header tells
    where everything is are not, and players stop at the first as well.
    """
    with path.open("rb") as file:
        head = file.read(16)
        if order := order_of(head):
            size = int.from_bytes(head[4:8], order)
            file.seek(8 + size + size % 2)
            return order_of(file.read(12)) is not None
        mp4 = head[4:8] == b"ftyp"
        length = _MP4_HEAD if mp4 else _HEADS.get(head[:4], 0)
        if not length:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            again = data.find(head[:length], length)
            # Fragments of a broadcast may each have a head of their own; they are read.
            return again > 0 and not (mp4 and data.find(b"moof") >= 0)
