"""What a file tells beside its sound: tags, chapters, covers, and the chunks of a WAV or AIFF.

FFmpeg writes most of it. Here is what only a complete file can take: the comments of Ogg, and such
chunks as broadcast time code, iXML and cue marks, which are copied as they are.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import av
from av.stream import Disposition
from av.video.stream import VideoStream

from audio_denoising.media.ffmpeg_reading import ERRORS, open_media
from audio_denoising.media.joined import Order, order_of

# Entries that describe the old file, not the recording.
_TECHNICAL = {
    *("compatible_brands", "duration", "encoder", "handler_name", "isvbr", "itunsmpb"),
    *("major_brand", "minor_version", "vendor_id"),
    *("wm/encodingtime", "wmfsdkneeded", "wmfsdkversion"),
}
_FRONT_COVER = 3
# Chunks that describe the stored sound, are filled in by the muxer, or are tags that go by FFmpeg.
_MADE_ANEW = {
    *(b"fmt ", b"data", b"fact", b"ds64", b"JUNK", b"junk", b"PAD ", b"FLLR", b"filr", b"PEAK"),
    *(b"levl", b"LIST INFO", b"id3 ", b"ID3 "),
    *(b"COMM", b"SSND", b"FVER", b"CHAN", b"NAME", b"AUTH", b"(c) ", b"ANNO"),
}
_CALLED = {b"iXML": "iXML", b"bext": "broadcast time code", b"cue ": "cue marks", b"MARK": "marks"}
_CHAPTERS = (b"cue ", b"LIST adtl")  # what FFmpeg reads as chapters
_NAME = re.compile(rb"[\w ()]{4}")
_MOST_BYTES = 1 << 26  # in a chunk: more is no description
_LIMIT = 1 << 32

Chunk = tuple[bytes, bytes]
"""Its name of four letters (of a list with what it is a list of, ``LIST adtl``), and its data."""


@dataclass(frozen=True)
class About:
    """What a file tells beside its sound."""

    tags: dict[str, str] = field(default_factory=dict)  # title, artist ... under FFmpeg's names
    chapters: tuple[tuple[float, str], ...] = ()  # where in seconds each begins, and its title
    covers: int = 0  # the number of cover pictures


def read_about(path: Path) -> About:
    """What a file tells beside its sound; nothing where FFmpeg cannot read it."""
    try:
        with open_media(path) as container:
            tags = dict(container.metadata)
            if "ogg" in container.format.name and container.streams.audio:
                tags |= container.streams.audio[0].metadata  # where Ogg keeps them
            chapters = [
                (float(c["start"] * (c["time_base"] or 0)), c["metadata"].get("title", ""))
                for c in container.chapters()
            ]
            covers = sum(bool(s.disposition & Disposition.attached_pic) for s in container.streams)
    except ERRORS:
        return About()
    # Matroska, FLAC and Ogg write ARTIST or Artist.
    named = {name.lower() if name.isalpha() else name: text for name, text in tags.items()}
    named = {name: text for name, text in named.items() if name.lower() not in _TECHNICAL}
    return About(named, tuple(chapters), covers)


def complete(source: Path, target: Path, rate: int, told: tuple[str, ...]) -> tuple[str, ...]:
    """Adds to the file that was made of a recording what only a complete one can take.

    To the sentences on what is known to be left out it returns further ones. OSError where the disk
    is full.
    """
    about = read_about(source)
    chapters = [(round(start * rate), title) for start, title in about.chapters]
    lost = carry_chunks(source, target, chapters)
    lacking = _lacking(about, read_about(target))
    if lacking and target.suffix.lower() in (".ogg", ".oga", ".opus"):
        _comment(target, about, source)
        lacking = _lacking(about, read_about(target))
    return tuple(
        f"its {what} cannot be kept in this kind of file"
        for what in (*lost, *lacking)
        if what not in " ".join(told)
    )


def _lacking(wanted: About, kept: About) -> list[str]:
    """What one file tells beside its sound and another does not."""
    tags = [
        name
        for name, text in wanted.tags.items()
        if name not in kept.tags and text not in kept.tags.values()
    ]
    lacking = [f"tags ({', '.join(tags)})"] if tags else []
    lacking += ["chapters"] * (len(kept.chapters) < len(wanted.chapters))
    return lacking + ["cover picture"] * (kept.covers < min(wanted.covers, 1))


def _comment(path: Path, about: About, source: Path) -> None:
    """Writes tags, chapters and a cover into a complete Ogg file, where all are lines of text.

    The packets are copied into a new file, which takes the place of the old one.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        with (
            open_media(path) as old,
            new.open("wb") as file,  # ours: FFmpeg does not tell when its last bytes fail
            av.open(file, "w", format="ogg") as out,
        ):
            stream = out.add_stream_from_template(old.streams.audio[0])
            stream.metadata.update(about.tags)
            for number, (start, title) in enumerate(about.chapters, 1):
                minutes, seconds = divmod(start, 60)
                clock = f"{minutes // 60:02.0f}:{minutes % 60:02.0f}:{seconds:06.3f}"
                stream.metadata[f"CHAPTER{number:03}"] = clock
                stream.metadata[f"CHAPTER{number:03}NAME"] = title
            if about.covers:
                stream.metadata["METADATA_BLOCK_PICTURE"] = _picture(source)
            for packet in old.demux(old.streams.audio[0]):
                if packet.dts is not None or packet.size:  # else the mark of the end
                    packet.stream = stream
                    out.mux(packet)
        new.replace(path)
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error
    finally:
        new.unlink(missing_ok=True)


def _picture(source: Path) -> str:
    """The first cover picture of a recording, as FLAC's block for pictures in Base64."""
    with open_media(source) as container:
        cover = next(s for s in container.streams.video if s.disposition & Disposition.attached_pic)
        assert isinstance(cover, VideoStream)
        codec, size = cover.codec_context.name, (cover.width, cover.height)
        data = bytes(next(container.demux(cover)))
    mime = b"image/jpeg" if codec == "mjpeg" else b"image/" + codec.encode()
    head = struct.pack(">2I", _FRONT_COVER, len(mime)) + mime
    # No description; 24 bits a pixel, no palette.
    block = head + struct.pack(">6I", 0, *size, 24, 0, len(data)) + data
    return base64.b64encode(block).decode()


def carry_chunks(source: Path, target: Path, chapters: list[tuple[int, str]]) -> list[str]:
    """Copies the chunks of a WAV or AIFF that hold for the denoised sound too to the end of a file.

    The chapters, by the sample where each begins, go into a WAV as cue marks, unless those of the
    source are copied. What the target cannot hold is returned, save what FFmpeg carries over.
    """
    with source.open("rb") as file:
        order = order_of(file.read(12))
        chunks = list(_read_chunks(file, order)) if order else []
    with target.open("r+b") as file:
        head = file.read(12)
        own, large = order_of(head), head.startswith(b"RF64")
        copied = chunks if own == order else []
        if own == "little" and b"cue " not in dict(copied):
            copied = [*copied, *_cue(chapters)]
        more = b"".join(_packed(name[:4], data, own) for name, data in copied if own)
        size = file.seek(0, 2)
        if own and more and (large or size + len(more) < _LIMIT):
            file.write(bytes(size % 2) + more)
            size = file.tell() - 8
            file.seek(20 if large else 4)
            file.write(size.to_bytes(8 if large else 4, own))
    left = [name for name, data in chunks if (name, data) not in copied and name not in _CHAPTERS]
    return [_CALLED.get(name) or f"chunk {name.decode().strip()}" for name in left]


def _read_chunks(file: BinaryIO, order: Order) -> Iterator[Chunk]:
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
        if start + size > end:
            return
        if name not in _MADE_ANEW and size < _MOST_BYTES:
            file.seek(start)
            yield name, file.read(size)
        file.seek(start + size + size % 2)


def _cue(chapters: list[tuple[int, str]]) -> list[Chunk]:
    """Chapters as cue marks with labels."""
    chapters = [(start, title) for start, title in chapters if 0 <= start < _LIMIT]
    if not chapters:
        return []
    points, labels = struct.pack("<I", len(chapters)), b"adtl"
    for number, (start, title) in enumerate(chapters, 1):
        points += struct.pack("<2I4s3I", number, start, b"data", 0, 0, start)
        text = struct.pack("<I", number) + title.encode(errors="replace") + b"\0"
        labels += _packed(b"labl", text, "little")
    return [(b"cue ", points), (b"LIST adtl", labels)]


def _packed(name: bytes, data: bytes, order: Order) -> bytes:
    return name + len(data).to_bytes(4, order) + data + bytes(len(data) % 2)
