"""FFmpeg behind the writer, through PyAV: compressed sound, tags and covers, the picture of videos.

Everything but the denoised sound track is copied packet by packet: nothing of it is encoded again.
"""

from __future__ import annotations

import math
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
import numpy.typing as npt
import soxr
from av.audio.stream import AudioStream

from audio_denoising.media.copies import REFUSED, Copies
from audio_denoising.media.encoders import (
    UNFLUSHED,
    accepted,
    bit_rate,
    quality,
    raw_samples,
    sample_format,
)
from audio_denoising.media.formats import CannotHoldError, Container
from audio_denoising.media.lame_tag import tell_length
from audio_denoising.media.opening import ERRORS, open_media, sound_tracks

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer

    from audio_denoising.media.reading import AudioReader

Samples = npt.NDArray[np.float32]

# What is told of a sound track that holds for the denoised one too (its size does not).
_OF_A_TRACK = {"language", "title", "handler_name"}
_ONLY_A_DATE = ("wav", "w64", "aiff", "mp3")
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
        self._encoder = self._choose(subtype, rate, channels, layout)
        self._bits = bit_rate(self._encoder, self.subtype, self._rate, channels, source)
        self._resampler = (
            soxr.ResampleStream(rate, self._rate, channels, dtype="float32")
            if rate != self._rate
            else None
        )
        self._source: InputContainer | None = None
        self._track = source.track if source is not None else None
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
        self._copies: Copies | None = None
        try:
            if self._source is not None:
                self._copies = Copies(self._source, self._out, container, self._add_sound)
            self._add_streams()
            if source is not None and self._source is not None:
                self._out.metadata.update(_dated(source.about.tags, container))
            self._start()
        except BaseException:
            self.abort()
            raise
        start = source.start if source is not None and container.video else 0.0
        if self._copies is not None:
            self._copies.begin()
            start += self._copies.later
        self._position = round(start * self._rate)
        lost = container.lost_frames * self._stream.codec_context.frame_size
        self._tail = np.zeros((channels, lost or UNFLUSHED.get(self._encoder, 0)), np.float32)
        self._encode(np.zeros((channels, lost), np.float32))

    @property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for everything that goes with the sound and that the file cannot hold."""
        return self._copies.left_out if self._copies is not None else ()

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
            self._out.mux(self._stream.encode(None))
            if self._copies is not None:
                self._copies.until(math.inf)
            self._out.close()
            if self._container.name == "mp3":
                tell_length(self._file, self._position, self._stream.codec_context.frame_size)
            self._file.close()
        except REFUSED as error:
            raise CannotHoldError("sound and picture at the times they have") from error
        except av.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Close a file that will be thrown away."""
        with suppress(OSError):
            self._file.close()  # first: so FFmpeg does not complete it
        self._out.close()
        if self._copies is not None:
            self._copies.close()

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
            if self._copies is None or not self._copies.names:
                raise ValueError(str(error)) from error
            # The sound alone would be taken: the encoder has been tried out before.
            copied = ", ".join(self._copies.names)
            raise CannotHoldError(f"all that goes with the sound: {copied}") from error

    def _options(self) -> dict[str, str]:
        options = dict(self._container.options)
        if self._container.name in ("mp4", "mov"):
            # The length of the sound is told in these units; in milliseconds it would be rounded.
            options["movie_timescale"] = str(self._rate)
            if self._source and any(n.startswith("com.apple") for n in self._source.metadata):
                options["movflags"] = "use_metadata_tags"
        return options

    def _add_sound(self, out: OutputContainer) -> AudioStream:
        return cast(
            AudioStream,
            out.add_stream(
                self._encoder,
                rate=self._rate,
                options=quality(self._encoder, self._bits),
                layout=self._layout,
                format=self._format,
                bit_rate=self._bits,
            ),
        )

    def _add_streams(self) -> None:
        """Add the sound track and, in the order of the source, what is copied."""
        if self._source is None or self._copies is None:
            self._stream = self._add_sound(self._out)
            return
        track = self._track
        if track is None:
            track = sound_tracks(self._source)[0].index
        for stream in self._source.streams:
            if stream.index != track:
                self._copies.add(stream)
                continue
            self._stream = self._add_sound(self._out)
            if self._container.video:
                for name in _OF_A_TRACK & stream.metadata.keys():
                    self._stream.metadata[name] = stream.metadata[name]
                self._stream.disposition = stream.disposition

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
                if self._copies is not None:
                    self._copies.until(self._position / self._rate)
                self._out.mux(self._stream.encode(frame))
        except REFUSED as error:
            raise CannotHoldError("sound and picture at the times they have") from error
        except av.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error


def _dated(tags: dict[str, str], container: Container) -> dict[str, str]:
    """The tags, with the time of recording as their date where a file has no other place for it."""
    if container.name in _ONLY_A_DATE and "creation_time" in tags:
        return {"date": tags["creation_time"], **tags}
    return tags
