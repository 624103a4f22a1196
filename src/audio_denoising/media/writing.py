"""Writing an audio file so that it appears whole or not at all.

Samples go to a hidden file with a temporary name in the folder of the output; it takes the final
name only when it is complete. An error or Ctrl-C on the way removes it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audio_denoising.errors import UserError
from audio_denoising.files import require_free, whole_file
from audio_denoising.media.formats import LIBSNDFILE, CannotHoldError, choose_format, container_of
from audio_denoising.media.formats import default_output as default_output
from audio_denoising.media.riff import called, carry
from audio_denoising.media.sndfile import ERRORS as _REFUSED
from audio_denoising.media.sndfile import VorbisEncoder

if TYPE_CHECKING:
    from audio_denoising.media.mux import MediaEncoder
    from audio_denoising.media.opening import About
    from audio_denoising.media.reading import AudioReader

Samples = npt.NDArray[np.float32]

_SURELY_SHORT = 1 << 25  # samples over all channels


class AudioWriter:
    """An audio file being written; use it in a ``with`` block, which completes or removes it.

    Integer formats clip at full scale, they never wrap.

    Args:
        path: the output file.
        rate: sample rate in Hz.
        channels: number of channels.
        subtype: sample format to keep where the output can hold it, see :func:`choose_format`.
        frames: samples per channel to come, as far as known.
        force: replace an existing file.
        source: the recording whose tags, chapters, cover pictures and, where the output is a video,
            picture, subtitles and further sound tracks are carried over untouched.

    Attributes:
        subtype: the sample format that is written.
        clips: samples beyond full scale do not survive; only the floating-point formats keep them.

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
        self._lost: tuple[str, ...] = ()
        check_output(self.path, force=force)
        container, chosen = choose_format(self.path, subtype, frames * channels)
        try:
            # libsndfile takes a refused folder and a refused format for the same error.
            self._whole = ExitStack()
            self._temporary = self._whole.enter_context(whole_file(self.path))
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._encoder = self._open(container, chosen, rate, channels, frames, source)
        except BaseException as error:
            self._whole.__exit__(type(error), error, error.__traceback__)
            if isinstance(error, CannotHoldError):
                raise self._too_much(error) from error
            if isinstance(error, _REFUSED) and not isinstance(error, UserError):
                raise UserError(
                    f"{self.path} cannot hold {channels} channel(s) at {rate} Hz as {container} "
                    f"{chosen}: choose a .wav name instead"
                ) from error
            raise
        self.subtype = self._encoder.subtype
        self.clips = self.subtype not in ("FLOAT", "DOUBLE")

    @property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for all that goes with the source's sound and that the output cannot hold.

        Of tags, chapters and the like it is known when the file is complete.
        """
        return (*self._encoder.left_out, *self._lost)

    def write(self, samples: Samples) -> None:
        """Append samples ``(channels, n)``, full scale at 1.

        Raises:
            UserError: the disk is full or the folder has gone.
        """
        try:
            self._encoder.write(samples)
        except CannotHoldError as error:
            raise self._too_much(error) from error
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._encoder.abort()
            self._whole.__exit__(kind, error, traceback)
            return
        try:
            with self._whole:
                self._encoder.close()
                if self._source is not None:
                    self._lost = self._carry_over(self._source)
                check_output(self.path, force=self._force)
        except CannotHoldError as problem:
            raise self._too_much(problem) from problem
        except OSError as problem:
            raise self._unwritable(problem) from problem

    def _open(
        self,
        container: str,
        subtype: str,
        rate: int,
        channels: int,
        frames: int,
        source: AudioReader | None,
    ) -> VorbisEncoder | MediaEncoder:
        kind = container_of(self.path)
        if kind.encoders[subtype] == LIBSNDFILE:
            return VorbisEncoder(self._temporary, rate, channels)
        if kind.name == "wav":
            # Where the length is not known, room is left to make it an RF64 in the end. It may be
            # off by far: of joined recordings only the first tells of its own.
            short = 0 < frames * channels < _SURELY_SHORT
            large = "always" if container == "rf64" else "never" if short else "auto"
            kind = replace(kind, options={**kind.options, "rf64": large})
        # Here, not above: FFmpeg's libraries take a moment to load.
        from audio_denoising.media.mux import MediaEncoder

        return MediaEncoder(self._temporary, rate, channels, kind, subtype, source)

    def _carry_over(self, source: AudioReader) -> tuple[str, ...]:
        """Add what only the complete file can take, and name what it does not hold."""
        from audio_denoising.media.ogg import describe
        from audio_denoising.media.opening import read_about

        chapters = [(round(start * self._rate), title) for start, title in source.about.chapters]
        lost = [called(chunk) for chunk in carry(source.path, self._temporary, chapters)]
        wanted, kept = source.about, read_about(self._temporary)
        if _lacking(wanted, kept) and container_of(self.path).name in ("ogg", "opus"):
            describe(self._temporary, wanted, source.path)
            kept = read_about(self._temporary)
        lost += _lacking(wanted, kept)
        told = " ".join(self._encoder.left_out)
        return tuple(
            f"its {what} cannot be kept in this kind of file" for what in lost if what not in told
        )

    def _too_much(self, error: CannotHoldError) -> UserError:
        kept = (
            "" if self.path.suffix == ".mkv" else "a .mkv name instead, which keeps the video, or "
        )
        return UserError(
            f"{self.path} cannot hold {error}: choose {kept}a .wav name for the sound alone"
        )

    def _unwritable(self, error: BaseException) -> UserError:
        reason = getattr(error, "strerror", None) or "the disk may be full"
        return UserError(
            f"{self.path} cannot be written ({reason}): free some space, or choose another folder "
            f"with the output option"
        )


def _lacking(wanted: About, kept: About) -> list[str]:
    """What one file tells beside its sound and another does not."""
    tags = [
        name
        for name, text in wanted.tags.items()
        if name not in kept.tags and text not in kept.tags.values()
    ]
    lacking = [f"tags ({', '.join(tags)})"] if tags else []
    lacking += ["chapters"] * (len(kept.chapters) < len(wanted.chapters))
    return lacking + ["cover picture"] * (kept.covers < min(wanted.covers, 1))


def check_output(path: str | Path, *, force: bool = False) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Raises:
        UserError: it exists and ``force`` is not given, is a folder or a device, has an unknown
            extension, or its folder cannot be written to.
    """
    require_free(Path(path), force=force)
    container_of(Path(path))
