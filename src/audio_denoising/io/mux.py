"""FFmpeg behind the writer, through PyAV: compressed sound, tags and covers, the picture of videos.

Everything but the denoised sound track is copied packet by packet: nothing of it is encoded again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
import numpy.typing as npt
import soxr
from av.audio.stream import AudioStream
from av.stream import Disposition

from audio_denoising.io.encoders import (
    UNFLUSHED,
    accepted,
    bit_rate,
    quality,
    raw_samples,
    sample_format,
)
from audio_denoising.io.formats import CannotHoldError, Container
from audio_denoising.io.lame_tag import tell_length
from audio_denoising.io.media import ERRORS, open_media, sound_track

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

    from audio_denoising.io.reading import AudioReader

Samples = npt.NDArray[np.float32]

# What is told of a sound track that holds for the denoised one too (its size does not).
_OF_A_TRACK = {"language", "title", "handler_name"}
_PIECE = 1 << 16  # samples handed to the encoder at once


class MediaEncoder:
    """A file that FFmpeg writes.

    Args:
        path: where to write; it exists already.
        rate: sample rate in Hz. A video may hold the sound at another one (Opus knows only 48 kHz
            and four lower ones): then it is resampled.
        channels: number of channels.
        container: what to write.
        subtype: its sample format. A video gets another one where this cannot hold the sound.
        source: the recording whose tags, chapters, cover pictures and, in a video, other streams
            are carried over.

    Attributes:
        subtype: the sample format that is written.
        left_out: a sentence for each stream that the container cannot hold.

    Raises:
        CannotHoldError: the container cannot hold the picture.
        ERRORS: it cannot hold this sample format, rate or number of channels.
    """

    def __init__(
        self,
        path: Path,
        rate: int,
        channels: int,
        container: Container,
        subtype: str,
        source: AudioReader | None,
    ) -> None:
        self._container = container
        layout = source.layout if source is not None else ""
        encoder = self._choose(subtype, rate, channels, layout)
        self._resampler = (
            soxr.ResampleStream(rate, self._rate, channels, dtype="float32")
            if rate != self._rate
            else None
        )
        self._source: InputContainer | None = None
        if source is not None:
            with suppress(*ERRORS):  # libsndfile reads some that FFmpeg does not
                self._source = open_media(source.path)
        if self._source is not None and not self._source.streams.audio:
            self._source = None
        # Through a file of ours, not a name: FFmpeg does not tell when its last bytes fail.
        self._file = path.open("w+b")
        self._out = av.open(
            self._file, "w", format=container.name, container_options=self._options()
        )
        self.left_out: tuple[str, ...] = ()
        self._copies: dict[int, Stream] = {}
        try:
            self._add_streams(
                encoder, bit_rate(encoder, self.subtype, self._rate, channels, source)
            )
            if source is not None and self._source is not None:
                self._out.metadata.update(source.tags)
                self._out.set_chapters(self._source.chapters())
            self._start()
        except BaseException:
            self.abort()
            raise
        self._copied = self._packets()
        self._waiting = next(self._copied, None)
        # What the container cannot tell is made up for by silence and by dropping packets.
        frame = self._stream.codec_context.frame_size
        late = container.late_frames * frame + container.late_samples
        self._to_drop = max(0, math.ceil(late / max(frame, 1)))
        start = source.start if source is not None and container.video else 0.0
        self._position = round(start * self._rate)
        self._tail = np.zeros((channels, max(-late, UNFLUSHED.get(encoder, 0))), np.float32)
        self._encode(np.zeros((channels, self._to_drop * frame - late), np.float32))

    def write(self, samples: Samples) -> None:
        """Append samples ``(channels, n)``; OSError where they cannot be written."""
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(samples.T)).T
        self._encode(samples)

    def close(self) -> None:
        """Complete the file; OSError where it cannot be written."""
        try:
            if self._resampler is not None:
                rest = np.zeros((0, self._tail.shape[0]), np.float32)
                self._encode(self._resampler.resample_chunk(rest, last=True).T)
            self._encode(self._tail)
            self._mux(self._stream.encode(None))
            self._copy_until(math.inf)
            self._out.close()
            if self._container.name == "mp3":
                tell_length(self._file, self._position, self._stream.codec_context.frame_size)
            self._file.close()
        except av.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Close a file that will be thrown away."""
        with suppress(OSError):
            self._file.close()  # first: so FFmpeg does not complete it
        self._out.close()
        if self._source is not None:
            self._source.close()

    def _choose(self, subtype: str, rate: int, channels: int, layout: str) -> str:
        """Settle the sample format, rate and arrangement of channels; return the encoder."""
        problem: ValueError | None = None
        video = self._container.video
        for chosen in [subtype, *(self._container.encoders if video else [])]:
            self.subtype = chosen
            encoder = self._container.encoders[chosen]
            self._format = sample_format(encoder, chosen)
            try:
                self._rate, self._layout = accepted(
                    encoder, self._format, rate, channels, layout=layout, resample=video
                )
            except ValueError as error:
                problem = problem or error
            else:
                return encoder
        raise ValueError(str(problem)) from problem

    def _start(self) -> None:
        """Write the header."""
        try:
            self._out.start_encoding()
        except av.FFmpegError as error:
            if not self._copies:
                raise ValueError(str(error)) from error
            # The sound alone would be taken: the encoder has been tried out before.
            copied = ", ".join(f"{copy.type} ({copy.name})" for copy in self._copies.values())
            raise CannotHoldError(f"all that goes with the sound: {copied}") from error

    def _options(self) -> dict[str, str]:
        options = dict(self._container.options)
        if self._container.name in ("mp4", "mov"):
            # The length of the sound is told in these units; in milliseconds it would be rounded.
            options["movie_timescale"] = str(self._rate)
            if self._source and any(n.startswith("com.apple") for n in self._source.metadata):
                options["movflags"] = "use_metadata_tags"
        return options

    def _add_streams(self, encoder: str, bits: int) -> None:
        """Add the sound track and, in the order of the source, what is copied."""
        track = sound_track(self._source) if self._source is not None else None
        for stream in self._source.streams if self._source is not None else (None,):
            if stream is track:
                self._stream = cast(
                    AudioStream,
                    self._out.add_stream(
                        encoder,
                        rate=self._rate,
                        options=quality(encoder, bits),
                        layout=self._layout,
                        format=self._format,
                        bit_rate=bits,
                    ),
                )
                if stream is not None and self._container.video:
                    for name in _OF_A_TRACK & stream.metadata.keys():
                        self._stream.metadata[name] = stream.metadata[name]
                    self._stream.disposition = stream.disposition
            elif stream is not None and self._is_carried(stream):
                self._add_copy(stream)

    def _is_carried(self, stream: Stream) -> bool:
        if stream.disposition & Disposition.attached_pic:
            return True
        if stream.type == "attachment":
            return self._container.name == "matroska"
        # Data: FFmpeg makes the tracks of chapters and time codes anew, and writes no others.
        return self._container.video and stream.type != "data"

    def _add_copy(self, stream: Stream) -> None:
        codec = stream.codec_context.name if stream.codec_context is not None else stream.type
        cover = bool(stream.disposition & Disposition.attached_pic)
        if cover and self._container.name == "matroska":
            self._attach(stream, codec)
            return
        try:
            if cover and not self._container.pictures:
                raise ValueError
            copy = self._out.add_stream_from_template(stream, opaque=True)
        except ValueError as error:
            if stream.type == "video" and not cover:
                raise CannotHoldError(f"the picture ({codec})") from error
            what = "cover picture" if cover else f"{stream.type} track"
            self.left_out += (f"its {what} ({codec}) cannot be kept in this kind of file",)
            return
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
        self._copies[stream.index] = copy

    def _attach(self, stream: Stream, codec: str) -> None:
        """Keep a cover picture the way Matroska does, as an attached file."""
        assert self._source is not None
        with open_media(Path(self._source.name.removeprefix("file:"))) as source:
            data = bytes(next(source.demux(source.streams[stream.index])))
        extension = "jpg" if codec == "mjpeg" else codec
        name = stream.metadata.get("filename", f"cover.{extension}")
        mime = "image/jpeg" if codec == "mjpeg" else f"image/{codec}"
        self._out.add_attachment(name, mime, data)

    def _packets(self) -> Iterator[Packet]:
        """The packets to copy, in the order of the source."""
        if self._source is None or not self._copies:
            return
        streams = [self._source.streams[index] for index in self._copies]
        packets = self._source.demux(streams)
        with suppress(av.FFmpegError):  # a truncated file ends here; the reader says so
            for packet in packets:
                if packet.dts is not None or packet.size:  # else the mark of the end
                    yield packet

    def _copy_until(self, seconds: float) -> None:
        """Copy the packets that come before a time, so that the file is well interleaved."""
        while self._waiting is not None:
            packet = self._waiting
            stamp = packet.dts if packet.dts is not None else packet.pts
            if stamp is not None and float(stamp * packet.time_base) > seconds:
                return
            packet.stream = self._copies[packet.stream.index]
            self._out.mux(packet)
            self._waiting = next(self._copied, None)

    def _encode(self, samples: Samples) -> None:
        try:
            for start in range(0, samples.shape[1], _PIECE):
                piece = samples[:, start : start + _PIECE]
                # Packed: of planar frames PyAV takes at most seven channels. It rearranges them.
                packed = self._format.removesuffix("p")
                raw = raw_samples(piece, packed, self.subtype)
                frame = av.AudioFrame.from_ndarray(raw, packed, self._layout)
                frame.sample_rate = self._rate
                frame.time_base = Fraction(1, self._rate)
                frame.pts = self._position
                self._position += piece.shape[1]
                self._copy_until(self._position / self._rate)
                self._mux(self._stream.encode(frame))
        except av.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error

    def _mux(self, packets: list[Packet]) -> None:
        dropped = min(self._to_drop, len(packets))
        self._to_drop -= dropped
        self._out.mux(packets[dropped:])
