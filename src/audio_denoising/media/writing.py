"""Writing an audio file so that it appears whole or not at all (`files.whole_file`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audio_denoising.errors import UserError
from audio_denoising.files import whole_file
from audio_denoising.media.formats import LIBSNDFILE, CannotHoldError, Container, choose_format
from audio_denoising.media.sndfile import ERRORS, INTEGER_BITS, SndfileEncoder
from audio_denoising.paths import require_free
from audio_denoising.samples import Samples

if TYPE_CHECKING:
    from audio_denoising.media.ffmpeg_writing import MediaEncoder
    from audio_denoising.media.reading import AudioReader

_SURELY_SHORT = 1 << 25  # samples over all channels


class AudioWriter:
    """An audio file being written; use it in a ``with`` block, which completes or removes it.

    Integer formats clip at full scale, they never wrap.

    Args:
        subtype: sample format to keep where the output can hold it, see :func:`choose_format`.
        frames: samples per channel to come, as far as known.
        force: replace an existing file.
        source: the recording whose tags, chapters, cover pictures and, where the output is a video,
            picture, subtitles and further sound tracks are carried over untouched.

    Raises:
        UserError: the file exists and ``force`` is not given, the folder cannot be written to, the
            extension is unknown, the format cannot hold this rate or this many channels, or the
            disk is full.
    """

    def __init__(
        self,
        path: str | Path,
        rate: int,
        channels: int,
        *,
        subtype: str = "PCM_16",
        frames: int = 0,
        force: bool = False,
        source: AudioReader | None = None,
    ) -> None:
        self.path = Path(path)
        self._force, self._source, self._rate = force, source, rate
        # Once the file is complete, sentences on what of the sound or beside it was not kept.
        self.notices: tuple[str, ...] = ()
        self._beyond = 0
        require_free(self.path, force=force)
        container, chosen = choose_format(self.path, subtype)
        with self._told(), ExitStack() as begun:
            # Before the encoder: libsndfile takes a refused folder and a refused format for the
            # same error.
            self._temporary = begun.enter_context(whole_file(self.path))
            try:
                self._encoder = self._open(container, chosen, channels, frames)
            except CannotHoldError:
                raise
            except ERRORS as error:
                raise UserError(
                    f"{self.path} cannot hold {channels} channel(s) at {rate} Hz as "
                    f"{container.name} {chosen}: choose a .wav name instead"
                ) from error
            self._whole = begun.pop_all()
        self.subtype = self._encoder.subtype  # that is written

    def write(self, samples: Samples) -> None:
        """Append samples ``(channels, n)``; UserError where the disk is full or the folder gone."""
        with self._told():
            self._encoder.write(samples)
        self._beyond += beyond_scale(samples, self.subtype)

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, *raised: Any) -> None:
        if raised[0] is not None:
            self._encoder.abort()
            self._whole.__exit__(*raised)
            return
        with self._told(), self._whole:
            self._encoder.close()
            self.notices = self._encoder.left_out
            if self._source is not None and not self._source.plain:
                from audio_denoising.media.about import complete

                source, told = self._source.path, self.notices
                self.notices += complete(source, self._temporary, self._rate, told)
            self.notices += too_loud(self._beyond, self.path)
            require_free(self.path, force=self._force)

    def _open(
        self, kind: Container, subtype: str, channels: int, frames: int
    ) -> SndfileEncoder | MediaEncoder:
        # The length may be off by far: of joined recordings only the first tells of its own.
        short = 0 < frames * channels < _SURELY_SHORT
        if kind.encoders[subtype] == LIBSNDFILE or (
            kind.name == "wav"
            and subtype in INTEGER_BITS
            and channels <= 2
            and short
            and (self._source is None or self._source.plain)  # nothing to carry over
        ):
            return SndfileEncoder(self._temporary, self._rate, channels, subtype)
        if kind.name == "wav" and not short:  # room to make it an RF64 in the end
            kind = replace(kind, options={**kind.options, "rf64": "auto"})
        # Here, not above: FFmpeg's libraries take a moment to load.
        from audio_denoising.media.ffmpeg_writing import MediaEncoder

        return MediaEncoder(self._temporary, self._rate, channels, kind, subtype, self._source)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what goes wrong in the block into a UserError."""
        try:
            yield
        except CannotHoldError as error:
            kept = "" if self.path.suffix == ".mkv" else "a .mkv name, which keeps the video, or "
            raise UserError(
                f"{self.path} cannot hold {error}: choose {kept}a .wav name for the sound alone"
            ) from error
        except OSError as error:
            reason = error.strerror or "the disk may be full"
            raise UserError(
                f"{self.path} cannot be written ({reason}): free some space, or choose another "
                f"folder with the output option"
            ) from error


def beyond_scale(samples: Samples, subtype: str) -> int:
    """How many samples do not survive in a format: only floating point goes beyond full scale."""
    return 0 if subtype in ("FLOAT", "DOUBLE") else int(np.count_nonzero(np.abs(samples) > 1.0))


def too_loud(beyond: int, output: Path) -> tuple[str, ...]:
    """The warning that so many samples of an output were limited to full scale, if any were."""
    if not beyond:
        return ()
    return (
        f"{beyond} samples of {output} went beyond full scale and were limited to it: if that is "
        f"audible, turn the recording down before cleaning it",
    )
