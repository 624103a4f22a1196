"""The comments of an Ogg file: tags, chapters and cover pictures, all of them lines of text."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import av
from av.stream import Disposition
from av.video.stream import VideoStream

from audio_denoising.media.opening import About, open_media

_FRONT_COVER = 3


def describe(path: Path, about: About, source: Path) -> None:
    """Write the tags, chapters and covers of a recording into a complete Ogg file.

    The packets are copied into a new file, which takes the place of the old one.

    Args:
        path: Vorbis or Opus in Ogg.
        about: tags and chapters.
        source: the recording with the covers.

    Raises:
        OSError: the disk is full.
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
            for picture in _pictures(source) if about.covers else ():
                stream.metadata["METADATA_BLOCK_PICTURE"] = picture
            for packet in old.demux(old.streams.audio[0]):
                if packet.dts is not None or packet.size:  # else the mark of the end
                    packet.stream = stream
                    out.mux(packet)
        new.replace(path)
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error
    finally:
        new.unlink(missing_ok=True)


def _pictures(source: Path) -> Iterator[str]:
    """The first cover picture of a recording, as FLAC's block for pictures in Base64."""
    with open_media(source) as container:
        covers = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
        for cover in covers[:1]:  # there is one line of the name
            yield base64.b64encode(_block(cover, bytes(next(container.demux(cover))))).decode()


def _block(cover: VideoStream, data: bytes) -> bytes:
    codec = cover.codec_context.name
    mime = b"image/jpeg" if codec == "mjpeg" else b"image/" + codec.encode()
    numbers = (cover.width, cover.height, 24, 0, len(data))  # 24 bits a pixel, no palette
    head = _number(_FRONT_COVER) + _number(len(mime)) + mime + _number(0)
    return head + b"".join(map(_number, numbers)) + data


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")
