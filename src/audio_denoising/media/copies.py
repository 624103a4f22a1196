"""What goes over untouched from a recording into a new file beside the denoised sound.

Picture, subtitles, further sound tracks, data, covers, attachments and chapters are copied packet
by packet, nothing of them is encoded again. What the new file cannot hold is named.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.bitstream import BitStreamFilterContext
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from audio_denoising.media.ffmpeg_reading import ERRORS, open_media
from audio_denoising.media.formats import CannotHoldError, Container
from audio_denoising.media.timeline import Mark, shift, steady_packets

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

_WITH_CHAPTERS = ("mp4", "mov", "matroska", "webm", "mp3", "asf", "ogg", "opus", "wav")
_MP4 = ("mp4", "mov")
_IN_COMMENTS = ("ogg", "opus")  # the writer puts covers into the complete file
REFUSED = (av.ArgumentError, av.InvalidDataError)
"""What a muxer raises where a packet does not suit it."""

_FIRST = 64  # packets, among which every stream that is no rare one has begun
_SEEN = 0.01  # difference in width
_NONSTRICT = 0x20000  # FFmpeg's AVFMT_TS_NONSTRICT: stamps may stay the same
_ON_THE_LIST = {"video": "mpeg4", "audio": "aac", "subtitle": "subrip"}


class Copies:
    """The streams of a recording, opened for this alone, that are copied into a file being written.

    Attributes:
        names: of the streams that are copied.
        later: seconds by which everything has to be later than in the source.
    """

    def __init__(
        self,
        source: InputContainer,
        out: OutputContainer,
        container: Container,
        add_sound: Callable[[OutputContainer], AudioStream],
    ) -> None:
        self._add_sound = add_sound
        self._source, self._out, self._container = source, out, container
        self._streams: dict[int, Stream] = {}
        self._last: dict[int, int] = {}
        self._reader = self._read()
        self._packets: Iterator[Packet] = self._reader
        self._waiting: Packet | None = None
        self.later = 0.0
        self._refused = 0  # packets
        self._left_out: list[str] = []
        self.names: list[str] = []
        chapters = source.chapters()
        if chapters and container.name in _WITH_CHAPTERS:
            out.set_chapters(chapters)
        elif chapters:
            self._leave_out("chapters")

    @property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for each thing that the file cannot hold."""
        refused = f"{self._refused} packets of its picture and other tracks cannot be kept"
        return (*self._left_out, refused) if self._refused else tuple(self._left_out)

    def add(self, stream: Stream) -> None:
        """Take a stream over, or say that it cannot be; CannotHoldError if it is the picture."""
        name, kind = _name(stream), self._container
        if stream.disposition & Disposition.attached_pic:
            if kind.name == "matroska":
                self._attach(stream, name)
            elif not (kind.pictures and self._added(stream)) and kind.name not in _IN_COMMENTS:
                self._leave_out(f"cover picture ({name})")
        elif not kind.video or _is_made_anew(stream):
            return  # the sound alone was asked for
        elif self._added(stream):
            self.names.append(f"{stream.type} ({name})")
            if kind.name not in _MP4 and (shape := _shape(stream)):
                self._leave_out(f"shape of pixels ({shape.numerator}:{shape.denominator})")
        elif stream.type == "video":
            raise CannotHoldError(f"the picture ({name})")
        else:
            self._leave_out(f"{stream.type} track ({name})")

    def begin(self) -> None:
        """Look at the first packets, once all streams are there.

        MP4 keeps pictures that are not shown below zero, since the first one shown is made from
        them. Other containers have no time below zero: there all streams are moved alike.
        """
        first: list[Packet] = []
        seen: set[int] = set()
        for packet in self._reader:
            first.append(packet)
            seen.add(packet.stream.index)
            if packet.stream.type == "video" and packet.pts is not None:
                self.later = max(self.later, -float(packet.pts * packet.time_base))
            if seen >= self._streams.keys() or len(first) >= _FIRST:
                break
        if self._container.name in _MP4:
            self.later = 0.0
        self._packets = chain(first, self._reader)

    def until(self, seconds: float) -> None:
        """Write the packets that come before a time, so that the file is well interleaved."""
        if self._waiting is None:
            self._waiting = next(self._packets, None)
        while self._waiting is not None:
            packet = self._waiting
            stamp = packet.dts if packet.dts is not None else packet.pts
            if stamp is not None and float(stamp * packet.time_base) + self.later > seconds:
                return
            self._write(packet)
            self._waiting = next(self._packets, None)

    def close(self) -> None:
        """Read no more of the source."""
        self._reader.close()

    def _read(self) -> Generator[Packet, None, None]:
        """The packets to copy, in the order of the source; a truncated one ends early."""
        for packet in steady_packets(self._source) if self._streams else ():
            if isinstance(packet, Mark) or packet.stream.index not in self._streams:
                continue
            if packet.dts is not None or packet.size:  # else the mark of the end
                yield packet

    def _write(self, packet: Packet) -> None:
        index = packet.stream.index
        packet.stream = copy = self._streams[index]
        shift(packet, self.later)
        if packet.dts is not None and copy.time_base is not None:
            # Files joined from several overlap a little where they meet; stamps must rise.
            nonstrict = self._out.format.flags & _NONSTRICT
            step = 0 if nonstrict else math.ceil(copy.time_base / packet.time_base)
            packet.dts = max(packet.dts, self._last.get(index, packet.dts - step) + step)
            packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
            self._last[index] = packet.dts
        try:
            self._out.mux(packet)
        except REFUSED:
            self._refused += 1

    def _added(self, stream: Stream) -> bool:
        """Adds a stream if the file can hold it, tried out by writing the beginning of such a file.

        Any list of what a kind of file holds is shorter than what FFmpeg writes into it.
        """
        for tag in _tags(stream, self._container):
            kind, options = self._container.name, dict(self._container.options)
            trial = av.open(io.BytesIO(), "w", format=kind, container_options=options)
            with suppress(*ERRORS), trial:
                self._add_sound(trial)
                _copy_into(trial, stream, tag)
                trial.start_encoding()
                copy = _copy_into(self._out, stream, tag)
                copy.metadata.update(stream.metadata)
                copy.disposition = stream.disposition
                self._streams[stream.index] = copy
                return True
        return False

    def _attach(self, stream: Stream, name: str) -> None:
        """Keep a cover picture the way Matroska does, as an attached file."""
        with open_media(Path(self._source.name.removeprefix("file:"))) as source:
            data = bytes(next(source.demux(source.streams[stream.index])))
        extension = "jpg" if name == "mjpeg" else name
        file_name = stream.metadata.get("filename", f"cover.{extension}")
        mime = "image/jpeg" if name == "mjpeg" else f"image/{name}"
        self._out.add_attachment(file_name, mime, data)

    def _leave_out(self, what: str) -> None:
        self._left_out.append(f"its {what} cannot be kept in this kind of file")


def _tags(stream: Stream, container: Container) -> list[str]:
    """The four letters to try by which players tell a codec; empty for the muxer's choice.

    The same codec goes by several: they tell how the pixels of an uncompressed picture lie, the
    flavour of ProRes, and Apple's players show HEVC only as hvc1.
    """
    tags = [""]
    if stream.codec_context is not None:
        if stream.codec_context.name == "hevc" and container.name in _MP4:
            tags.insert(0, "hvc1")
        with suppress(UnicodeDecodeError):
            if (own := stream.codec_context.codec_tag).strip("\0"):
                tags.insert(0, own)
    return tags


def _copy_into(out: OutputContainer, stream: Stream, tag: str) -> Stream:
    """Add a stream for the packets of another file's; `ERRORS` where the file holds no such."""
    try:
        copy = out.add_stream_from_template(stream, opaque=True)
    except ValueError:
        copy = _past_the_list(out, stream)
    if tag:
        copy.codec_context.codec_tag = tag
    shape = stream.sample_aspect_ratio if isinstance(stream, VideoStream) else None
    if shape and isinstance(copy, VideoStream):  # as the old container tells it
        copy.codec_context.sample_aspect_ratio = shape
    return copy


def _past_the_list(out: OutputContainer, stream: Stream) -> Stream:
    """The same for a codec that PyAV does not know the file to hold: one that it knows is added,
    and its description replaced as bitstream filters do."""
    if stream.type not in _ON_THE_LIST:
        raise ValueError(stream.type)
    with av.open(os.devnull, "w", format="null") as scratch:
        plain = stream
        if stream.codec_context is not None:  # without the tag of the old container
            plain = scratch.add_stream_from_template(stream, opaque=True)
        listed = scratch.add_stream(_ON_THE_LIST[stream.type])
        copy = out.add_stream_from_template(listed, opaque=True)
        copy.time_base = stream.time_base
        BitStreamFilterContext("null", plain, copy)
    return copy


def _shape(stream: Stream) -> Fraction | None:
    """The pixels' width over height, where the container alone tells it and they are no squares.

    PyAV hands it on only within the codec's description, which Matroska does not look at.
    """
    if not isinstance(stream, VideoStream) or stream.codec_context is None:
        return None
    if not stream.sample_aspect_ratio:
        return None
    told = Fraction(stream.sample_aspect_ratio)
    own = Fraction(stream.codec_context.sample_aspect_ratio or 1)
    return told if abs(told / own - 1) > _SEEN else None


def _is_made_anew(stream: Stream) -> bool:
    """Whether FFmpeg writes a track by itself, from the chapters or the time code."""
    told = "timecode" in stream.metadata or stream.discard == Discard.all
    return stream.type == "data" and told


def _name(stream: Stream) -> str:
    if stream.type in ("data", "attachment"):
        told = stream.metadata.get("filename") or stream.metadata.get("handler_name")
        return told or getattr(stream, "name", None) or "of unknown kind"
    return stream.codec_context.name if stream.codec_context is not None else "of unknown codec"
