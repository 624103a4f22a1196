"""Reading sound in blocks, with a plain sentence for everything that can be wrong with the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audio_denoising.errors import UserError
from audio_denoising.media import sndfile
from audio_denoising.media.sndfile import SndfileDecoder
from audio_denoising.paths import require_file
from audio_denoising.samples import Samples

if TYPE_CHECKING:
    from audio_denoising.media.ffmpeg_reading import MediaDecoder

# Samples in a second over all channels: memory goes by them, and a header can tell anything.
# 64 channels at 48 kHz are three million, eight at 384 kHz as well.
_MOST_SAMPLES = 1 << 22
SHORT = 0.25  # seconds: less may be a difference in counting
_FFMPEG_ALONE = (".mp3", ".flac")  # libsndfile need not be tried
_LOUDEST = 1e10  # samples that an integer's full scale of 2^31 was taken for 1 stay below it


class AudioReader:
    """A sound or video file opened for reading from its start to its end; use it in ``with``.

    Of several sound tracks it reads the default one. With ``salvage`` it reads what can be decoded
    of a damaged file, and only says so in ``damage``.

    Raises:
        UserError: the file is missing, a folder, empty, unreadable, not audio, without samples, or
            of more channels at a higher rate than any recording has.
    """

    def __init__(self, path: str | Path, *, salvage: bool = False) -> None:
        self.path = Path(path)
        self.damage = ""  # after `blocks` what was wrong with the file, in one sentence
        self.notices: tuple[str, ...] = ()  # then sentences on what need not be damage
        self._salvage = salvage
        require_file(path)
        decoder = self._decoder = _open(self.path)
        self.rate, self.channels = decoder.rate, decoder.channels
        # Samples per channel as the header gives them, 0 where it leaves them open. For compressed
        # sound in a video an estimate.
        self.frames = decoder.frames
        self.subtype = decoder.subtype  # in libsndfile's words, such as PCM_24, VORBIS or AAC
        self.layout = decoder.layout  # FFmpeg's name for the channels' order, such as 5.1, or ""
        self.bit_rate = decoder.bit_rate  # of compressed sound, 0 where not known
        self.plain = decoder.plain  # nothing in the file but its sound: no tags, marks, picture
        self.start = decoder.start  # seconds by which its track starts later than the picture
        self.track = decoder.track  # its number among all streams of a file that FFmpeg reads
        if self.channels > 1 and self.rate * self.channels > _MOST_SAMPLES:
            self.close()
            raise UserError(
                f"{self.path} tells of {self.channels} channels at {self.rate} Hz, more than can "
                f"be cleaned at once: split its channels, or convert it to a lower sample rate"
            )

    def blocks(self, size: int) -> Iterator[Samples]:
        """Blocks of ``size`` samples to the end of the file, float32 ``(channels, n)``.

        Raises:
            UserError: the file is corrupt (unless ``salvage``), nothing at all could be decoded, or
                it holds NaN, infinite or senselessly large samples.
        """
        waiting: list[Samples] = []
        ready = done = 0
        for piece in self._pieces():
            if not sensible(piece).all():
                raise UserError(not_numbers(str(self.path), self.rate, done, piece))
            done += piece.shape[1]
            while piece.shape[1]:
                taken = piece[:, : size - ready]
                piece = piece[:, taken.shape[1] :]
                waiting.append(taken)
                ready += taken.shape[1]
                if ready == size:
                    yield np.ascontiguousarray(np.concatenate(waiting, axis=1))
                    waiting, ready = [], 0
        if self.damage and (done == 0 or not self._salvage):
            raise UserError(self.damage)
        if ready:
            yield np.ascontiguousarray(np.concatenate(waiting, axis=1))

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _pieces(self) -> Iterator[Samples]:
        """What the decoder gives, up to the damage or, for ``salvage``, beyond it."""
        end = 0
        for piece in self._decoder.pieces():
            if self._decoder.damaged_at is not None and not self._salvage:
                break
            end += piece.shape[1]
            yield piece
        damaged_at = self._decoder.damaged_at
        if damaged_at is None:
            self.notices = tuple(self._missing(end / self.rate))
            return
        what = "cannot be read beyond" if end <= damaged_at else "has damaged places from"
        self.damage = (
            f"{self.path} is truncated or corrupt, it {what} {damaged_at / self.rate:.2f} s: "
            f"copy or download it again"
        )

    def _missing(self, seconds: float) -> Iterator[str]:
        """What the file told of and did not hold, which need not be damage."""
        if not self._decoder.alone:
            from audio_denoising.media.joined import is_followed

            if is_followed(self.path):
                yield (
                    f"{self.path} holds a second recording behind the first, which is not read: "
                    f"split the file, and clean them one by one"
                )
        told = self._decoder.told
        if seconds < told - SHORT:
            yield (
                f"{self.path} ends after {seconds:.2f} s, though it tells of {told:.2f} s: "
                f"if that is too early, copy or download it again"
            )
        yield from self._decoder.notices()


def read_audio(path: str | Path) -> tuple[Samples, int]:
    """A whole file as float32 ``(channels, samples)``, and its rate in Hz; errors as above."""
    with AudioReader(path) as reader:
        blocks = list(reader.blocks(1 << 20))
    return np.concatenate(blocks, axis=1), reader.rate


def _open(path: Path) -> SndfileDecoder | MediaDecoder:
    """The decoder that can open the file."""
    empty = False
    if path.suffix.lower() not in _FFMPEG_ALONE:
        try:
            decoder = SndfileDecoder(path)
        except sndfile.ERRORS:
            pass
        else:
            if decoder.exact and not decoder.empty:
                return decoder
            decoder.close()
            empty = decoder.empty
    # Here, not above: FFmpeg's libraries take a moment to load, and most files do not need them.
    from audio_denoising.media.ffmpeg_reading import opened

    # A recorder that lost power leaves a header that tells of no samples, though they follow.
    return opened(path, empty=empty)


def sensible(piece: Samples) -> npt.NDArray[np.bool_]:
    """Which samples are numbers, of a size that a recording can have."""
    return np.abs(piece) < _LOUDEST


def not_numbers(name: str, rate: int, done: int, piece: Samples) -> str:
    """Says where a piece that begins with sample `done` has one that is not `sensible`."""
    first = done + int(np.argmin(sensible(piece).all(axis=0)))
    finite = np.isfinite(piece).all()
    what = "beyond all measure" if finite else "that are not numbers (NaN or infinite)"
    return (
        f"{name} holds samples {what}, the first after {first / rate:.2f} s: export it again from "
        f"the original"
    )
