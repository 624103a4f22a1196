"""What a WAV or AIFF holds beside its sound: broadcast time code, iXML, cue marks and the like.

Such files are a row of chunks, each with a name of four letters and a size. The chunks that say
nothing of how the sound is stored hold for the denoised sound too, and are copied as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

# Chunks that describe the stored sound, are filled in by the muxer, or are tags that go by FFmpeg.
_MADE_ANEW = frozenset(
    b"fmt |data|fact|ds64|JUNK|junk|PAD |FLLR|filr|PEAK|levl|LIST INFO|id3 |ID3 |"
    b"COMM|SSND|FVER|CHAN|NAME|AUTH|(c) |ANNO".split(b"|")
)
_CALLED = {b"iXML": "iXML", b"bext": "broadcast time code", b"cue ": "cue marks", b"MARK": "marks"}
_CHAPTERS = (b"cue ", b"LIST adtl")  # what FFmpeg reads as chapters
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RF64": "little"}
_ORDERS[b"FORM"] = "big"
_NAME = re.compile(rb"[\w ()]{4}")
_MOST_BYTES = 1 << 26  # in a chunk: more is no description
_LIMIT = 1 << 32


@dataclass(frozen=True)
class Chunk:
    """A chunk of a file.

    Attributes:
        name: its four letters; of a list also what it is a list of, such as ``LIST adtl``.
        data: what it holds.
    """

    name: bytes
    data: bytes

    def write(self, file: BinaryIO, order: Literal["little", "big"]) -> None:
        """Append it to a file."""
        file.write(self.name[:4] + len(self.data).to_bytes(4, order) + self.data)
        file.write(bytes(len(self.data) % 2))


def carry(source: Path, target: Path, chapters: list[tuple[int, str]]) -> list[Chunk]:
    """Copy what a file holds beside its sound to the end of a complete file.

    Args:
        source: any file.
        target: a file that was just written.
        chapters: where in samples the chapters begin, and what they are called. A WAV gets them as
            cue marks, unless those of the source are copied.

    Returns:
        The chunks that the target cannot hold, save those that FFmpeg carries over as chapters.
    """
    with source.open("rb") as file:
        order = _ORDERS.get(file.read(4))
        chunks = list(_read(file, order)) if order else []
    with target.open("r+b") as file:
        kind = file.read(4)
        order = order if order == _ORDERS.get(kind) else None
        copied = chunks if order else []
        if _ORDERS.get(kind) == "little" and not any(c.name == b"cue " for c in copied):
            order, copied = "little", [*copied, *_cue(chapters)]
        size = file.seek(0, 2)
        more = sum(8 + len(c.data) + len(c.data) % 2 for c in copied)
        if order and copied and (kind == b"RF64" or size + more < _LIMIT):
            file.write(bytes(size % 2))
            for chunk in copied:
                chunk.write(file, order)
            size = file.tell() - 8
            file.seek(20 if kind == b"RF64" else 4)
            file.write(size.to_bytes(8 if kind == b"RF64" else 4, order))
    return [c for c in chunks if c not in copied and c.name not in _CHAPTERS]


def called(chunk: Chunk) -> str:
    """What a chunk is, for a warning."""
    return _CALLED.get(chunk.name) or f"chunk {chunk.name.decode().strip()}"


def _read(file: BinaryIO, order: Literal["little", "big"]) -> Iterator[Chunk]:
    end = file.seek(0, 2)
    file.seek(12)
    large = 0  # the size of the sound where 32 bits do not hold it
    while len(head := file.read(8)) == 8:
        name, size = head[:4], int.from_bytes(head[4:], order)
        if not _NAME.fullmatch(name) or (name == b"data" and not size):
            return  # behind a size that is wrong
        if name == b"data" and size == _LIMIT - 1:
            size = large
        start = file.tell()
        if name == b"ds64":
            large = int.from_bytes(file.read(16)[8:], order)
        elif name == b"LIST":
            name += b" " + file.read(4)
        if name not in _MADE_ANEW and size < _MOST_BYTES:
            file.seek(start)
            if start + size <= end:
                yield Chunk(name, file.read(size))
        if start + size > end:
            return
        file.seek(start + size + size % 2)


def _cue(chapters: list[tuple[int, str]]) -> list[Chunk]:
    """Chapters as cue marks with labels."""
    chapters = [(start, title) for start, title in chapters if 0 <= start < _LIMIT]
    if not chapters:
        return []
    points, labels = len(chapters).to_bytes(4, "little"), b"adtl"
    for number, (start, title) in enumerate(chapters, 1):
        place = start.to_bytes(4, "little")
        points += number.to_bytes(4, "little") + place + b"data" + bytes(8) + place
        text = number.to_bytes(4, "little") + title.encode(errors="replace") + b"\0"
        labels += b"labl" + len(text).to_bytes(4, "little") + text + bytes(len(text) % 2)
    return [Chunk(b"cue ", points), Chunk(b"LIST adtl", labels)]
