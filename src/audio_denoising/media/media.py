"""FFmpeg behind the reader, through PyAV's wheels: FLAC, Ogg, MP3, the sound of a video ..."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
import numpy.typing as npt
import soxr
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.stream import Disposition

from audio_denoising.media.opening import layout_name, open_media, sound_tracks
from audio_denoising.media.timeline import BREAKS, Mark, steady_packets, with_gaps

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

Samples = npt.NDArray[np.float32]

# FFmpeg's codecs in libsndfile's words, as far as an output may want to keep them.
_SUBTYPES = {
    "aac": "AAC",
    "ac3": "AC3",
    "amr_nb": "AMR_NB",
    "eac3": "AC3",
    "mp3": "MPEG_LAYER_III",
    "opus": "OPUS",
    "vorbis": "VORBIS",
    "wmav1": "WMA",
    "wmav2": "WMA",
    "wmapro": "WMA",
    "pcm_alaw": "ALAW",
    "pcm_mulaw": "ULAW",
    "pcm_s8": "PCM_S8",
    "pcm_u8": "PCM_U8",
    "pcm_f64le": "DOUBLE",
    "pcm_f64be": "DOUBLE",
    "pcm_s64le": "DOUBLE",
    "pcm_s64be": "DOUBLE",
    "pcm_f32le": "FLOAT",
    "pcm_f32be": "FLOAT",
}
_LOSSLESS = ("pcm_", "alac", "flac", "ape", "tak", "tta", "wavpack", "truehd", "mlp", "wmalossless")
# Sample type of FFmpeg's formats, and the value of full scale.
_DTYPES = {
    "u8": ("u1", 2.0**7),
    "s16": ("i2", 2.0**15),
    "s32": ("i4", 2.0**31),
    "s64": ("i8", 2.0**63),
    "flt": ("f4", 1.0),
    "dbl": ("f8", 1.0),
}
_GAPLESS = ("flac", "ogg")  # but for damage
# Seconds that may be missing at one place. Hardly a codec's frame is shorter than the first; where
# no picture waits for the sound, and FFmpeg may have made up the stamps, the second does no harm.
_STEP, _SMALL = 0.012, 0.1
_LONG_BLOCK = 8192  # samples
_MOST_PADDING = 0.5  # seconds that a codec adds at the end
# Seconds of silence in gaps, or as much as there is sound, or a little for every packet of the
# picture: time stamps can tell anything.
_MOST_SILENCE, _FOR_A_PACKET = 3600, 10
_PIECE = 1 << 16  # samples over all channels: of silence at once
_LIKE_A_GUESS = 0.02  # of a length: it follows from the size of the file
# In the middle of a recording joined from several: tags, and what Ogg tells of the next.
_TAGS_INSIDE = (b"ID3", b"TAG", b"APETAGEX")
_HEADS_INSIDE = {
    "speex": (b"Speex",),
    "flac": tuple(bytes([last + kind, 0]) for last in (0, 128) for kind in range(1, 7)),
}
_STREAMINFO = 34  # bytes at the beginning of FLAC; five bits of them are bits per sample less one
_OPUS_RATES = (8000, 12_000, 16_000, 24_000)  # and 48,000


class MediaDecoder:
    """A file opened by FFmpeg; the attributes are those of ``AudioReader``.

    Gaps in the sound track become silence, so that it stays in time with the picture.

    Attributes:
        start: time stamp in seconds of the first sample.
        told: seconds of sound that the file tells of, 0 where it does not.
        silence: samples of silence that were put into gaps.
        first_gap: where in seconds the first of them stands.
        track: number of the stream that is decoded.
        passed_over: number of better sound tracks that cannot be decoded.

    Raises:
        ERRORS: it cannot be opened.
        NoSoundTrackError: a video without sound.
    """

    def __init__(self, path: Path) -> None:
        self._container = open_media(path)
        try:
            # What the header says may be wrong (HE-AAC), what is decoded is right.
            tracks = [track.index for track in sound_tracks(self._container)]
            for self.track in tracks:
                if self.track != tracks[0]:
                    self._container.close()
                    self._container = open_media(path)
                if (first := self._begin()) is not None:
                    break
            else:
                raise ValueError("nothing could be decoded")
        except BaseException:
            self._container.close()
            raise
        self._first = first
        self.passed_over = tracks.index(self.track)
        self._resampler: soxr.ResampleStream | None = None
        self._resampled = 0  # the rate that it takes
        self.rate = self._told_rate() or self._first.sample_rate
        self.channels = self._first.layout.nb_channels
        self.layout = layout_name(self._first.layout.name)
        self.bit_rate = int(self._stream.bit_rate or 0)
        # Sound alone starts when it starts; beside other streams the time stamp counts.
        self._origin: float | None = None
        if self._first.pts is not None and self._first.time_base is not None:
            self._origin = float(self._first.pts * self._first.time_base)
        self.start = self._origin or 0.0 if self._accompanied() else 0.0
        self.subtype = self._subtype(self._first)
        self._exact, self.told = self._length()
        self.frames = round(self.told * self.rate)
        if self._container.format.flags & BREAKS:
            self.told = 0.0  # but computed from stamps that need not follow on each other

    def pieces(self) -> Iterator[Samples]:
        """Decode on, ``(channels, n)`` at a time; sets ``damaged_at`` where something is missing.

        What follows a damaged place is decoded too, and stays at its time.
        """
        padding: list[Samples] = []
        for piece in self._all():
            if self._exact:
                padding.append(piece[:, max(0, self.frames - self._done) :])
                piece = piece[:, : self.frames - self._done]
                if sum(rest.shape[1] for rest in padding) > _MOST_PADDING * self.rate:
                    # A file joined from several tells of its first part.
                    self._exact = False
                    piece = np.concatenate(padding, axis=1)
            if piece.shape[1]:
                self._done += piece.shape[1]
                yield piece
        # Where Vorbis begins with a long block, FFmpeg has all stamps late by a part of it, and
        # cuts as much off the end.
        cut = round((self._origin or 0.0) * self.rate)
        if self._container.format.name == "ogg" and not self.start and 0 < cut < _LONG_BLOCK:
            yield np.zeros((self.channels, cut), np.float32)
        if self._exact and self._done < self.frames - self.rate:
            self._damaged()

    def _all(self) -> Iterator[Samples]:
        """What is decoded, at one rate, with silence in the gaps."""
        for gap, frame in chain(self._begun, self._frames):
            if isinstance(frame, Mark):
                if frame is Mark.DAMAGE:
                    self._damaged()
                continue
            if frame.sample_rate != self._resampled or gap:
                yield from self._end_of_rate()
            yield from self._gap(gap)
            samples = self._samples(frame)
            fresh = samples[:, self._overlap :]
            self._overlap -= samples.shape[1] - fresh.shape[1]
            yield fresh
        yield from self._end_of_rate()

    @property
    def unread(self) -> float:
        """The share of a file that FFmpeg passes over, as of several FLV or Matroska in one."""
        if not self._container.format.name.startswith(("flv", "matroska")):
            return 0.0
        return 1 - self._reached / self._container.size

    def close(self) -> None:
        """Close the file."""
        self._frames.close()
        self._container.close()

    def _begin(self) -> AudioFrame | None:
        """Decode the first frame of a track; None where there is none that can be."""
        self.damaged_at: int | None = None
        self.silence = self._done = self._overlap = 0
        self.first_gap = 0.0
        self._others = 0  # packets of the picture
        self._reached = 0  # bytes of the file
        stream = self._container.streams[self.track]
        if not stream.codec_context:  # FFmpeg has no decoder for it
            return None
        self._stream = cast(AudioStream, stream)
        together = self._accompanied()
        gapless = self._container.format.name in _GAPLESS
        self._frames = with_gaps(
            self._decode(), together=together, step=_STEP if together or gapless else _SMALL
        )
        self._begun: list[tuple[float, AudioFrame | Mark]] = []
        for gap, frame in self._frames:
            self._begun.append((gap, frame))
            if not isinstance(frame, Mark):
                return frame
        return None

    def _accompanied(self) -> bool:
        """Whether there are other streams that the sound has to keep time with."""
        streams = self._container.streams
        return sum(not s.disposition & Disposition.attached_pic for s in streams) > 1

    def _decode(self) -> Generator[AudioFrame | Mark, None, None]:
        """The frames in continuous time, and the marks between them."""
        for packet in steady_packets(self._container):
            if isinstance(packet, Mark):
                yield packet
                continue
            self._reached = max(self._reached, (packet.pos or 0) + packet.size)
            if packet.stream is not self._stream:
                self._others += packet.stream.type == "video"
            elif packet.size or packet.dts is None:  # an empty one tells of changes; none, the end
                try:
                    yield from self._stream.decode(packet)
                except av.InvalidDataError:
                    codec = self._stream.codec_context.codec.canonical_name
                    heads = (*_TAGS_INSIDE, *_HEADS_INSIDE.get(codec, ()))
                    if not bytes(packet).startswith(heads):
                        yield Mark.DAMAGE
                except av.FFmpegError:
                    yield Mark.DAMAGE
                    return

    def _damaged(self) -> None:
        if self.damaged_at is None:
            self.damaged_at = self._done

    def _gap(self, seconds: float) -> Iterator[Samples]:
        """Silence, a piece at a time, for sound that is missing; what overlaps will be left out."""
        missing = round(seconds * self.rate)
        self._overlap = max(0, self._overlap - missing)
        most = max(_MOST_SILENCE, _FOR_A_PACKET * self._others) * self.rate
        if 0 < missing < max(most, self._done - self.silence) - self.silence:
            if not self.silence:
                self.first_gap = self._done / self.rate
            self.silence += missing
            if self._container.format.name in _GAPLESS and not self._accompanied():
                self._damaged()
            size = max(1, _PIECE // self.channels)
            for start in range(0, missing, size):
                yield np.zeros((self.channels, min(size, missing - start)), np.float32)

    def _samples(self, frame: AudioFrame) -> Samples:
        if frame.layout.nb_channels == self.channels:
            samples = _to_float(frame)
        else:  # broadcasts may change between stereo and surround on the way
            mixer = AudioResampler("fltp", self._first.layout, frame.sample_rate)
            mixed = [_to_float(part) for part in mixer.resample(frame)]
            samples = np.concatenate(mixed, axis=1)
        if frame.sample_rate == self.rate:
            return samples
        # One resampler from change to change: frame by frame there would be a seam at each end.
        if self._resampler is None:
            self._resampled = frame.sample_rate
            self._resampler = soxr.ResampleStream(
                self._resampled, self.rate, self.channels, dtype="float32"
            )
        return self._resampler.resample_chunk(np.ascontiguousarray(samples.T)).T

    def _end_of_rate(self) -> Iterator[Samples]:
        """What the resampler still holds of the sound before the rate changes, or the end."""
        if self._resampler is not None:
            rest = np.zeros((0, self.channels), np.float32)
            yield self._resampler.resample_chunk(rest, last=True).T
        self._resampler, self._resampled = None, 0

    def _told_rate(self) -> int:
        """The rate that Opus was made from, 0 for 48 kHz, at which FFmpeg always decodes it."""
        head = self._stream.codec_context.extradata or b""
        rate = int.from_bytes(head[12:16], "little") if head.startswith(b"OpusHead") else 0
        return rate if rate in _OPUS_RATES else 0

    def _subtype(self, first: AudioFrame) -> str:
        codec = self._stream.codec_context.codec.canonical_name
        if codec in _SUBTYPES:
            return _SUBTYPES[codec]
        if not codec.startswith(_LOSSLESS):
            return codec.upper()
        format_name = first.format.name.removesuffix("p")
        bits = 16 if format_name in ("s16", "u8") else 24 if format_name == "s32" else 32
        head = self._stream.codec_context.extradata or b""
        if (
            codec == "flac"
            and len(head) >= _STREAMINFO
            and (head[12] & 1, head[13] >> 4) == (1, 15)
        ):
            bits = 32
        if codec == "alac":
            return f"ALAC_{bits}"
        return "PCM_32" if codec.startswith(("pcm_s32", "pcm_u32")) else f"PCM_{bits}"

    def _length(self) -> tuple[bool, float]:
        """Whether the sound ends exactly where it is told to, and where (s; 0: not told)."""
        stream, container = self._stream, self._container
        alone = len(container.streams) == 1
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
            if "mp4" in container.format.name and seconds > 0:
                return True, seconds  # the edit list says where codec padding begins
        else:
            end = float(_seconds(stream.metadata.get("DURATION", "")))  # of Matroska: a time stamp
            if not end and alone:
                end = float(Fraction(container.duration or 0, av.time_base))
            start = float((stream.start_time or 0) * (stream.time_base or 0))
            seconds = max(0.0, end - start)
        # What follows from the size and the bit rate nobody told: FFmpeg has guessed.
        guessed = 8 * container.size / self.bit_rate if alone and self.bit_rate else 0.0
        return False, 0.0 if abs(seconds - guessed) < _LIKE_A_GUESS * seconds else seconds


def _to_float(frame: AudioFrame) -> Samples:
    """The samples of a frame as float32 ``(channels, n)`` with full scale at 1."""
    dtype, scale = _DTYPES[frame.format.name.removesuffix("p")]
    count = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
    # PyAV counts a plane too many where there are eight.
    wanted = frame.planes[: frame.layout.nb_channels if frame.format.is_planar else 1]
    planes = [np.frombuffer(memoryview(plane), dtype, count) for plane in wanted]
    raw = np.stack(planes) if frame.format.is_planar else planes[0].reshape(frame.samples, -1).T
    middle = scale if dtype == "u1" else 0.0
    if scale == 1 and not middle:
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite
            return raw.astype(np.float32)
    return ((raw.astype(np.float64) - middle) / scale).astype(np.float32)


def _seconds(clock: str) -> Fraction:
    """Seconds of Matroska's ``00:01:02.500000000``; 0 for anything else."""
    try:
        hours, minutes, seconds = clock.split(":")
        return Fraction(hours) * 3600 + Fraction(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return Fraction(0)
