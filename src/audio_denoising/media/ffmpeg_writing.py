"""FFmpeg behind the writer, through PyAV: compressed sound, tags and covers, the picture of videos.

Everything but the denoised sound track is copied packet by packet: nothing of it is encoded again.
"""

from __future__ import annotations

import math
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import av
import numpy as np
from av.audio.stream import AudioStream

from audio_denoising.media.about import read_about
from audio_denoising.media.copies import REFUSED, Copies
from audio_denoising.media.ffmpeg_reading import ERRORS, open_media, sound_tracks
from audio_denoising.media.formats import CannotHoldError, Container
from audio_denoising.samples import Samples

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer

    from audio_denoising.media.reading import AudioReader

# What is told of a sound track that holds for the denoised one too (its size does not).
_OF_A_TRACK = {"language", "title", "handler_name"}
_ONLY_A_DATE = ("wav", "w64", "aiff", "mp3")  # no other place for the time of recording
_PIECE = 1 << 16  # samples handed to the encoder at once

# FFmpeg's formats for integers; all else is given floats, as far as the encoder takes them.
_FORMATS = {"PCM_U8": "u8", "PCM_S8": "u8", "PCM_24": "s32", "PCM_32": "s32", "ALAC_24": "s32"}
_FORMATS |= dict.fromkeys(("PCM_16", "ULAW", "ALAW", "ALAC_16", "AMR_NB"), "s16")
# Arrangements of the loudspeakers to try where the input does not tell its own.
_LAYOUTS = {
    1: ["mono"],
    2: ["stereo"],
    3: ["3.0", "2.1"],
    4: ["4.0", "quad"],
    5: ["5.0", "5.0(side)"],
    6: ["5.1", "5.1(side)"],
    7: ["6.1", "6.1(back)"],
    8: ["7.1"],
}
# Samples that an encoder keeps to itself at the end, unless silence pushes them out.
_UNFLUSHED = {"ac3": 256}
# FFmpeg's way to libopus mixes up the channels of 5.0 and 6.1: they must be given like this.
_OPUS_ORDER = {5: [0, 1, 4, 2, 3], 7: [0, 1, 4, 3, 5, 2, 6]}
_LOSSLESS = ("pcm", "flac", "alac")
_MOST_BITS = {"ac3": 640_000, "libopencore_amrnb": 12_200}
# LAME turns the sound down by 0.4 dB at constant bit rates, but not at constant quality: 0 is the
# best; FFmpeg counts in units of 118.
_MANY_BITS, _FINE, _GOOD = 200_000, "0", str(2 * 118)


class MediaEncoder:
    """A file that FFmpeg writes.

    Args:
        path: where to write; it exists already.
        rate: in Hz. A video may hold the sound at another one (Opus knows only 48 kHz and four
            lower ones): then it is resampled.
        subtype: the sample format. A video gets another one where this cannot hold the sound.
        source: the recording whose tags, chapters, cover pictures and, in a video, other streams
            are carried over.

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
        self._container, self._given_rate, self._channels = container, rate, channels
        self._choose(subtype, source.layout if source is not None else "")
        self._bits = self._bit_rate(source)
        self._source: InputContainer | None = None
        if source is not None:
            with suppress(*ERRORS):  # libsndfile reads some that FFmpeg does not
                self._source = open_media(source.path)
        # Through a file of ours, not a name: FFmpeg does not tell when its last bytes fail.
        self._file = path.open("w+b")
        options = self._options()
        self._out = av.open(self._file, "w", format=container.name, container_options=options)
        self._copies: Copies | None = None
        try:
            if source is not None and self._source is not None and self._source.streams.audio:
                self._copies = Copies(self._source, self._out, container, self._add_sound)
                self._add_streams(self._source, self._copies, source.track)
                tags = read_about(source.path).tags
                if container.name in _ONLY_A_DATE and "creation_time" in tags:
                    tags = {"date": tags["creation_time"], **tags}
                self._out.metadata.update(tags)
            else:
                self._stream = self._add_sound(self._out)
            self._start()
        except BaseException:
            self.abort()
            raise
        start = source.start if source is not None and container.video else 0.0
        if self._copies is not None:
            self._copies.begin()
            start += self._copies.later
        self._position = round(start * rate)
        lost = container.lost_frames * self._stream.codec_context.frame_size
        self._tail = np.zeros((channels, lost or _UNFLUSHED.get(self._encoder, 0)), np.float32)
        self.write(np.zeros((channels, lost), np.float32))

    @property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for every stream that goes with the sound and that the file cannot hold."""
        return self._copies.left_out if self._copies is not None else ()

    def write(self, samples: Samples) -> None:
        """Append samples ``(channels, n)``; OSError where they cannot be written."""
        if self.subtype == "OPUS" and self._channels in _OPUS_ORDER:
            samples = samples[_OPUS_ORDER[self._channels]]
        if self.subtype in ("PCM_24", "ALAC_24"):  # else FFmpeg cuts the bits below off
            samples = np.rint(samples * 2.0**23) / 2.0**23
        try:
            for start in range(0, samples.shape[1], _PIECE):
                piece = samples[:, start : start + _PIECE].astype(np.float32)
                # Packed: of planar frames PyAV takes at most seven channels. It converts them.
                packed = np.ascontiguousarray(piece.T.reshape(1, -1))
                frame = av.AudioFrame.from_ndarray(packed, "flt", self._layout)
                frame.sample_rate = self._given_rate
                frame.time_base = Fraction(1, self._given_rate)
                frame.pts = self._position
                self._position += piece.shape[1]
                if self._copies is not None:
                    self._copies.until(self._position / self._given_rate)
                self._out.mux(self._stream.encode(frame))
        except REFUSED as error:
            raise CannotHoldError("sound and picture at the times they have") from error
        except av.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error

    def close(self) -> None:
        """Complete the file; OSError where it cannot be written."""
        try:
            self.write(self._tail)
            self._out.mux(self._stream.encode(None))
            if self._copies is not None:
                self._copies.until(math.inf)
            self._out.close()
            if self._container.name == "mp3":
                _tell_length(self._file, self._position, self._stream.codec_context.frame_size)
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
        if self._source is not None:
            self._source.close()

    def _choose(self, subtype: str, layout: str) -> None:
        """Settle sample format, encoder, rate and arrangement of channels, this one first if known.

        ValueError where no encoder takes this rate and number of channels.
        """
        problem: Exception | None = None
        encoders, video = self._container.encoders, self._container.video
        for chosen in (subtype, *(encoders if video else ())):
            self.subtype, self._encoder = chosen, encoders[chosen]
            codec = av.codec.Codec(self._encoder, "w")
            accepted = [f.name for f in codec.audio_formats or []]
            name = _FORMATS.get(self.subtype)
            wanted = ("fltp", "flt", "dbl") if name is None else (name, f"{name}p")
            self._format = next(name for name in wanted if name in accepted)
            self._rate, held = self._given_rate, codec.audio_rates
            if video and held and self._rate not in held:
                self._rate = min((r for r in held if r > self._rate), default=max(held))
            guesses = [*_LAYOUTS.get(self._channels, []), f"{self._channels} channels"]
            if self._encoder.startswith("pcm"):  # which needs none: nothing is made up
                guesses.reverse()
            for self._layout in filter(None, [layout, *guesses]):
                context = cast(av.AudioCodecContext, av.CodecContext.create(codec, "w"))
                context.format, context.rate = self._format, self._rate
                context.bit_rate = self._usual_bits()
                try:
                    context.layout = self._layout
                    context.open()
                except ERRORS as error:
                    problem = problem or error
                else:
                    return
        raise ValueError(str(problem)) from problem

    def _usual_bits(self) -> int:
        return min(96_000, 4 * self._rate) * self._channels

    def _bit_rate(self, source: AudioReader | None) -> int:
        """Bits in a second for compressed sound: at least those of a source in the same format."""
        if self._encoder.startswith(_LOSSLESS):
            return 0
        bits = self._usual_bits()
        if source is not None and source.subtype == self.subtype:
            bits = max(bits, source.bit_rate)
        return min(bits, _MOST_BITS.get(self._encoder, 256_000 * self._channels))

    def _options(self) -> dict[str, str]:
        options = dict(self._container.options)
        if self._container.name in ("mp4", "mov"):
            # The length of the sound is told in these units; in milliseconds it would be rounded.
            options["movie_timescale"] = str(self._rate)
            if self._source and any(n.startswith("com.apple") for n in self._source.metadata):
                options["movflags"] = "use_metadata_tags"
        return options

    def _add_streams(self, source: InputContainer, copies: Copies, track: int | None) -> None:
        """Add the sound track and, in the order of the source, what is copied."""
        if track is None:
            track = sound_tracks(source)[0].index
        for stream in source.streams:
            if stream.index != track:
                copies.add(stream)
                continue
            self._stream = self._add_sound(self._out)
            if self._container.video:
                for name in _OF_A_TRACK & stream.metadata.keys():
                    self._stream.metadata[name] = stream.metadata[name]
                self._stream.disposition = stream.disposition

    def _add_sound(self, out: OutputContainer) -> AudioStream:
        options = {}
        if self._encoder == "libmp3lame":
            fine = _FINE if self._bits > _MANY_BITS else _GOOD
            options = {"flags": "+qscale", "global_quality": fine}
        form: dict[str, Any] = {
            "layout": self._layout,
            "format": self._format,
            "bit_rate": self._bits,
        }
        made = out.add_stream(self._encoder, rate=self._rate, options=options, **form)
        return cast(AudioStream, made)

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


def _tell_length(file: BinaryIO, samples: int, frame_size: int) -> None:
    """Correct the padding that the LAME tag of a complete MP3 tells of, where there is a tag.

    FFmpeg tells of at most one frame of padding at the end; where the sound fills its last frame to
    within 48 samples there is more, and the file would be longer than the sound, which has so many
    samples in each channel.
    """
    encoder, delay, crc, crc_covers = 120, 141, 154, 190  # offsets from the word Xing or Info
    file.seek(0)
    head = file.read(10)
    start = 0
    if head.startswith(b"ID3"):  # its size is written seven bits to a byte
        start = 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:10])))
    file.seek(start)
    frame = bytearray(file.read(512))
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    if tag < 0 or bytes(frame[tag + encoder :][:4]) not in (b"LAME", b"Lavc", b"Lavf"):
        return
    frames = int.from_bytes(frame[tag + 8 : tag + 12], "big")
    late = int.from_bytes(frame[tag + delay : tag + delay + 3], "big") >> 12
    padding = min(max(frames * frame_size - late - samples, 0), 0xFFF)
    frame[tag + delay : tag + delay + 3] = (late << 12 | padding).to_bytes(3, "big")
    frame[tag + crc : tag + crc + 2] = _crc16(frame[:crc_covers]).to_bytes(2, "big")
    file.seek(start)
    file.write(frame)


def _crc16(data: bytes | bytearray) -> int:
    """CRC-16 with the polynomial 0x8005, lowest bit first."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
