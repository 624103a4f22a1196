"""FFmpeg behind the reader, through PyAV's wheels: FLAC, Ogg, MP3, the sound of a video ...

Only local files are opened: a playlist that names a web address fetches nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.stream import Disposition

from audio_denoising.errors import UserError
from audio_denoising.media.timeline import BREAKS, Mark, steady_packets, with_gaps
from audio_denoising.samples import Samples

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer

ERRORS = (av.FFmpegError, OSError, ValueError)  # what opening a file raises

# FFmpeg's codecs in libsndfile's words, as far as an output may want to keep them.
_SUBTYPES = {
    "aac": "AAC", "ac3": "AC3", "amr_nb": "AMR_NB", "eac3": "AC3", "mp3": "MPEG_LAYER_III",
    "opus": "OPUS", "vorbis": "VORBIS", "wmav1": "WMA", "wmav2": "WMA", "wmapro": "WMA",
    "pcm_alaw": "ALAW", "pcm_mulaw": "ULAW", "pcm_s8": "PCM_S8", "pcm_u8": "PCM_U8",
    "pcm_f64le": "DOUBLE", "pcm_f64be": "DOUBLE", "pcm_s64le": "DOUBLE", "pcm_s64be": "DOUBLE",
    "pcm_f32le": "FLOAT", "pcm_f32be": "FLOAT",
}  # fmt: skip
_LOSSLESS = ("pcm_", "alac", "flac", "ape", "tak", "tta", "wavpack", "truehd", "mlp", "wmalossless")
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
_UNREAD = 0.1  # of a file: less is an index, or attachments
_UNHEARD = 0.01  # seconds of gaps that are not worth a word
# In the middle of a recording joined from several: tags, and what Ogg tells of the next.
_TAGS_INSIDE = (b"ID3", b"TAG", b"APETAGEX")
_HEADS_INSIDE = {
    "speex": (b"Speex",),
    "flac": tuple(bytes([last + kind, 0]) for last in (0, 128) for kind in range(1, 7)),
}
_STREAMINFO = 34  # bytes at the beginning of FLAC; five bits of them are bits per sample less one
_PAGE = 65_307  # bytes that a page of Ogg has at most
_OPUS_RATES = (8000, 12_000, 16_000, 24_000)  # and 48,000


class NoSoundTrackError(Exception):
    """A video, or a picture, without sound."""


class MediaDecoder:
    """A file opened by FFmpeg; the attributes are those of ``AudioReader``.

    Gaps in the sound track become silence, so that it stays in time with the picture.

    Attributes:
        told: seconds of sound that the file tells of, 0 where it does not.

    Raises:
        ERRORS: it cannot be opened.
        NoSoundTrackError: a video without sound.
    """

    plain = alone = False

    def __init__(self, path: Path) -> None:
        self._path = path
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
        self._passed_over = self.track != tracks[0]
        self.rate = self._told_rate() or first.sample_rate
        self._layout = first.layout
        self.channels = first.layout.nb_channels
        # "6 channels" tells no order
        self.layout = "" if first.layout.name.endswith("channels") else first.layout.name
        self.bit_rate = int(self._stream.bit_rate or 0)
        # Sound alone starts when it starts; beside other streams the time stamp counts.
        self._origin = first.time or 0.0
        self.start = self._origin if self._accompanied() else 0.0
        self.subtype = self._subtype(first)
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
        cut = round(self._origin * self.rate)
        if self._container.format.name == "ogg" and not self.start and 0 < cut < _LONG_BLOCK:
            yield np.zeros((self.channels, cut), np.float32)
        if self._exact and self._done < self.frames - self.rate:
            self._damaged()

    def notices(self) -> Iterator[str]:
        """Sentences on what need not be damage, once all is decoded."""
        if self._passed_over:
            yield (
                f"{self._path} has a sound track that cannot be decoded here: the next one was "
                f"cleaned in its place"
            )
        if self._container.format.name.startswith(("flv", "matroska")):  # several in one
            unread = 1 - self._reached / self._container.size
            if unread > _UNREAD:
                yield (
                    f"the last {100 * unread:.0f} % of {self._path} cannot be read: if it was "
                    f"joined from several recordings, clean them one by one"
                )
        if self._container.format.name == "ogg" and not _is_completed(self._path):
            yield (
                f"{self._path} lacks the mark of its end: if that is too early, copy or download "
                f"it again"
            )
        if self._silence > _UNHEARD * self.rate:
            yield (
                f"{self._path} has gaps of {self._silence / self.rate:.2f} s in all, the first "
                f"after {self._first_gap:.2f} s: they are filled with silence"
            )

    def close(self) -> None:
        """Close the file."""
        self._frames.close()
        self._container.close()

    def _begin(self) -> AudioFrame | None:
        """Decode the first frame of a track; None where there is none that can be."""
        self.damaged_at: int | None = None
        self._silence = self._done = self._overlap = 0  # samples
        self._first_gap = 0.0  # where it stands, in seconds
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

    def _all(self) -> Iterator[Samples]:
        """What is decoded, at one rate, with silence in the gaps."""
        resampler: AudioResampler | None = None
        taken: object = None  # what it takes
        for gap, frame in chain(self._begun, self._frames):
            if isinstance(frame, Mark):
                if frame is Mark.DAMAGE:
                    self._damaged()
                continue
            # One from change to change: frame by frame there would be a seam at each end.
            # Broadcasts may change between stereo and surround on the way.
            if (frame.format.name, frame.layout.name, frame.sample_rate) != taken or gap:
                yield from _resampled(resampler, None)
                resampler = AudioResampler("flt", self._layout, self.rate)
                taken = frame.format.name, frame.layout.name, frame.sample_rate
            yield from self._gap(gap)
            for samples in _resampled(resampler, frame):
                fresh = samples[:, self._overlap :]
                self._overlap -= samples.shape[1] - fresh.shape[1]
                yield fresh
        yield from _resampled(resampler, None)

    def _damaged(self) -> None:
        if self.damaged_at is None:
            self.damaged_at = self._done

    def _gap(self, seconds: float) -> Iterator[Samples]:
        """Silence, a piece at a time, for sound that is missing; what overlaps will be left out."""
        missing = round(seconds * self.rate)
        self._overlap = max(0, self._overlap - missing)
        most = max(_MOST_SILENCE, _FOR_A_PACKET * self._others) * self.rate
        if 0 < missing < max(most, self._done - self._silence) - self._silence:
            if not self._silence:
                self._first_gap = self._done / self.rate
            self._silence += missing
            if self._container.format.name in _GAPLESS and not self._accompanied():
                self._damaged()
            size = max(1, _PIECE // self.channels)
            for start in range(0, missing, size):
                yield np.zeros((self.channels, min(size, missing - start)), np.float32)

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
        if codec == "flac" and len(head) >= _STREAMINFO and head[12] & 1 and head[13] >> 4 == 15:
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


def opened(path: Path, *, empty: bool) -> MediaDecoder:
    """The decoder of a file; ``empty`` where its header tells of no samples. UserError for none."""
    try:
        return MediaDecoder(path)
    except NoSoundTrackError as error:
        raise UserError(f"{path} has no sound track: give a recording with sound") from error
    except ERRORS as error:
        if empty:
            raise UserError(f"{path} holds no samples: record or export it again") from error
        raise UserError(
            f"{path} is not an audio file that can be read here, or it is damaged: give a sound or "
            f"video file that players can play, such as WAV, FLAC, MP3, M4A, Opus or MP4"
        ) from error


def open_media(path: Path) -> InputContainer:
    """Open a local file; `ERRORS` where FFmpeg does not recognise it."""
    return av.open(
        f"file:{path}",  # else the part of a name before a colon would be taken for a protocol
        metadata_errors="replace",
        container_options={"protocol_whitelist": "file", "fflags": "+genpts"},
    )


def sound_tracks(container: InputContainer) -> list[AudioStream]:
    """The sound tracks: first the one to be denoised, then those to try if it cannot be decoded.

    The first is the one marked as default, else FFmpeg's choice.

    Raises:
        NoSoundTrackError: a video without sound.
        ValueError: neither sound nor picture.
    """
    tracks = container.streams.audio
    if not tracks:
        # FFmpeg takes text for drawings on a terminal, and unknown data for pictures without size.
        films = [v.codec_context for v in container.streams.video if v.codec_context is not None]
        if any(film.width and film.codec.name != "ansi" for film in films):
            raise NoSoundTrackError
        raise ValueError("neither sound nor picture")
    marked = [track for track in tracks if track.disposition & Disposition.default]
    best = marked[0] if len(marked) == 1 else container.streams.best("audio")
    return sorted(tracks, key=lambda track: track is not best)


def is_sound_alone(path: Path) -> bool:
    """Whether a file that may be a video holds nothing but sound; false where it is not known."""
    try:
        with open_media(path) as container:
            return all(stream.type == "audio" for stream in container.streams)
    except ERRORS:
        return False


def _resampled(resampler: AudioResampler | None, frame: AudioFrame | None) -> Iterator[Samples]:
    """A frame as float32 with full scale at 1; for None what the resampler still holds."""
    for part in resampler.resample(frame) if resampler is not None else ():
        if part is not None:
            # Packed: PyAV counts a plane too many where there are eight.
            yield part.to_ndarray().reshape(part.samples, -1).T


def _is_completed(path: Path) -> bool:
    """Whether the last page of an Ogg file is marked as the end of its stream."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _PAGE))
        tail = file.read()
    _, _, page = tail.rpartition(b"OggS")
    return len(page) < 2 or bool(page[1] & 4)


def _seconds(clock: str) -> Fraction:
    """Seconds of Matroska's ``00:01:02.500000000``; 0 for anything else."""
    try:
        hours, minutes, seconds = clock.split(":")
        return Fraction(hours) * 3600 + Fraction(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return Fraction(0)
