"""FFmpeg behind the reader, through PyAV's wheels: M4A, WMA, AMR, the sound track of a video ...

Only local files are opened: a playlist that names a web address fetches nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler
from av.stream import Disposition

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

Samples = npt.NDArray[np.float32]

ERRORS = (av.FFmpegError, OSError, ValueError)
"""What opening a file raises."""


class NoSoundTrackError(Exception):
    """A video, or a picture, without sound."""


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
_GAP = 0.1  # seconds: time stamps of containers are rounded, shorter gaps are no gaps
# Of silence in gaps, in seconds, or as much as there is sound: time stamps can tell anything.
_MOST_SILENCE = 3600.0
_PIECE = 1 << 16  # samples over all channels: of silence at once
_MOST_REFUSALS = 1000
_CUT_OFF = 1  # seconds: less may be a difference in counting
# Entries that describe the old file, not the recording.
_TECHNICAL = {
    "compatible_brands",
    "duration",
    "encoder",
    "handler_name",
    "isvbr",
    "itunsmpb",
    "major_brand",
    "minor_version",
    "vendor_id",
    "wm/encodingtime",
    "wmfsdkneeded",
    "wmfsdkversion",
}


def open_media(path: Path) -> InputContainer:
    """Open a local file.

    Raises:
        ERRORS: FFmpeg does not recognise it.
    """
    return av.open(
        f"file:{path}",  # else the part of a name before a colon would be taken for a protocol
        metadata_errors="replace",
        container_options={"protocol_whitelist": "file", "fflags": "+genpts"},
    )


def sound_track(container: InputContainer) -> AudioStream:
    """The sound track to be denoised: the one marked as default, else FFmpeg's choice.

    Raises:
        NoSoundTrackError: a video without sound.
        ValueError: neither sound nor picture.
    """
    tracks = container.streams.audio
    if not tracks:
        # FFmpeg takes text for drawings on a terminal, and unknown data for pictures without size.
        if any(v.width and v.codec.name != "ansi" for v in container.streams.video):
            raise NoSoundTrackError
        raise ValueError("neither sound nor picture")
    marked = [track for track in tracks if track.disposition & Disposition.default]
    best = container.streams.best("audio")
    return marked[0] if len(marked) == 1 else next((t for t in tracks if t == best), tracks[0])


class MediaDecoder:
    """A file opened by FFmpeg; the attributes are those of ``AudioReader``.

    Gaps in the sound track become silence, so that it stays in time with the picture.

    Attributes:
        start: time stamp in seconds of the first sample.

    Raises:
        ERRORS: it cannot be opened.
        NoSoundTrackError: a video without sound.
    """

    def __init__(self, path: Path) -> None:
        self._container = open_media(path)
        try:
            self._stream = sound_track(self._container)
            self.damaged_at: int | None = None
            self._expected = Fraction(0)  # seconds of sound by the header, 0 where it is not sure
            self._done = self._silence = 0
            self._torn = False  # something was lost before the next frame
            self._decoded = self._decode()
            # What the header says may be wrong (HE-AAC), what is decoded is right.
            self._first = next(self._decoded, None)
            if self._first is None:
                raise ValueError("nothing could be decoded")
        except BaseException:
            self._container.close()
            raise
        streams = self._container.streams
        self.rate = self._first.sample_rate
        self.channels = self._first.layout.nb_channels
        self.layout = self._first.layout.name
        self.bit_rate = int(self._stream.bit_rate or 0)
        # Sound alone starts when it starts; beside other streams the time stamp counts.
        self._origin: float | None = None
        if self._first.pts is not None and self._first.time_base is not None:
            self._origin = float(self._first.pts * self._first.time_base)
        covers = sum(bool(s.disposition & Disposition.attached_pic) for s in streams)
        self.start = self._origin or 0.0 if len(streams) - covers > 1 else 0.0
        self.subtype = self._subtype(self._first)
        self._exact, self.frames = self._length()

    def pieces(self) -> Iterator[Samples]:
        """Decode on, ``(channels, n)`` at a time; sets ``damaged_at`` where something is missing.

        What follows a damaged place is decoded too, and stays at its time.
        """
        frame = self._first
        while frame is not None:
            for piece in chain(self._gap_before(frame), [self._samples(frame)]):
                if self._exact and self.frames:
                    piece = piece[:, : self.frames - self._done]  # the rest is codec padding
                if piece.shape[1]:
                    self._done += piece.shape[1]
                    yield piece
            frame = next(self._decoded, None)
        if self._done < (self._expected - _CUT_OFF) * self.rate:
            self._damaged()

    def close(self) -> None:
        """Close the file."""
        self._decoded.close()
        self._container.close()

    def _decode(self) -> Generator[AudioFrame, None, None]:
        packets = self._container.demux(self._stream)
        for _ in range(_MOST_REFUSALS):
            try:
                for packet in packets:
                    try:
                        yield from packet.decode()
                    except av.InvalidDataError:
                        self._damaged()
                return
            except av.InvalidDataError:  # read on behind the damaged place
                self._damaged()
                packets = self._container.demux(self._stream)
            except av.FFmpegError:
                self._damaged()
                return

    def _damaged(self) -> None:
        self._torn = True
        if self.damaged_at is None:
            self.damaged_at = self._done

    def _gap_before(self, frame: AudioFrame) -> Iterator[Samples]:
        """Silence, a piece at a time, for the time that passed since the last frame."""
        if frame.pts is None or frame.time_base is None:
            self._torn = True  # FFmpeg has lost its place; the next time stamp tells
            return
        now = float(frame.pts * frame.time_base)
        if self._origin is None:
            self._origin = now - self._done / self.rate
        missing = round((now - self._origin) * self.rate) - self._done
        shortest = 0.0 if self._torn else _GAP
        self._torn = False
        most = max(_MOST_SILENCE * self.rate, self._done - self._silence)
        if shortest * self.rate < missing < most - self._silence:
            self._silence += missing
            size = max(1, _PIECE // self.channels)
            for start in range(0, missing, size):
                yield np.zeros((self.channels, min(size, missing - start)), np.float32)

    def _samples(self, frame: AudioFrame) -> Samples:
        if (frame.sample_rate, frame.layout.nb_channels) == (self.rate, self.channels):
            return _to_float(frame)
        assert self._first is not None
        # Broadcasts may change between stereo and surround on the way.
        converter = AudioResampler("fltp", self._first.layout, self.rate)
        frames = [*converter.resample(frame), *converter.resample(None)]
        return np.concatenate([_to_float(converted) for converted in frames], axis=1)

    def _subtype(self, first: AudioFrame) -> str:
        codec = self._stream.codec_context.codec.canonical_name
        if codec in _SUBTYPES:
            return _SUBTYPES[codec]
        if not codec.startswith(_LOSSLESS):
            return codec.upper()
        format_name = first.format.name.removesuffix("p")
        bits = 16 if format_name in ("s16", "u8") else 24 if format_name == "s32" else 32
        if codec == "alac":
            return f"ALAC_{bits}"
        return "PCM_32" if codec.startswith(("pcm_s32", "pcm_u32")) else f"PCM_{bits}"

    def _length(self) -> tuple[bool, int]:
        """Whether the length is certain, and the length in samples (0: not known)."""
        stream, container = self._stream, self._container
        name = container.format.name
        if stream.duration is not None and stream.time_base is not None:
            # The edit list of MP4 says where codec padding begins, and so does the tag of MP3: then
            # the first time stamp is not 0. Elsewhere FFmpeg may have guessed from the bit rate.
            certain = "mp4" in name or (name == "mp3" and bool(stream.start_time))
            seconds = stream.duration * stream.time_base
            self._expected = seconds if certain else Fraction(0)
            return certain, round(seconds * self.rate)
        told = _seconds(stream.metadata.get("DURATION", ""))
        seconds = told or Fraction(container.duration or 0, av.time_base)
        self._expected = told or (seconds if len(container.streams) == 1 else Fraction(0))
        return False, round(seconds * self.rate)


def read_tags(path: Path) -> dict[str, str]:
    """Title, artist, date, comment ... under FFmpeg's names; empty where FFmpeg cannot read it."""
    try:
        with open_media(path) as container:
            tags = dict(container.metadata)
            if "ogg" in container.format.name and container.streams.audio:
                tags |= container.streams.audio[0].metadata  # where Ogg keeps them
    except ERRORS:
        return {}
    # Matroska, FLAC and Ogg write ARTIST or Artist.
    named = {name.lower() if name.isalpha() else name: text for name, text in tags.items()}
    return {name: text for name, text in named.items() if name.lower() not in _TECHNICAL}


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
