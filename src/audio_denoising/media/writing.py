"""Writing an audio file so that it appears whole or not at all.

Samples go to a hidden file with a temporary name in the folder of the output; it takes the final
name only when it is complete. An error or Ctrl-C on the way removes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_denoising.errors import UserError
from audio_denoising.files import whole_file
from audio_denoising.media.formats import LIBSNDFILE, CannotHoldError, choose_format, container_of
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
        # Once the file is complete, a sentence for all that goes with the source's sound and that
        # the output cannot hold.
        self.left_out: tuple[str, ...] = ()
        require_free(self.path, force=force)
        container, chosen = choose_format(self.path, subtype, frames * channels)
        self._whole = ExitStack()
        with self._told():
            # Before the encoder: libsndfile takes a refused folder and a refused format for the
            # same error.
            self._temporary = self._whole.enter_context(whole_file(self.path))
            try:
                self._encoder = self._open(container, chosen, rate, channels, frames)
            except BaseException as error:
                self._whole.__exit__(type(error), error, error.__traceback__)
                if isinstance(error, ERRORS) and not isinstance(error, CannotHoldError):
                    raise UserError(
                        f"{self.path} cannot hold {channels} channel(s) at {rate} Hz as "
                        f"{container} {chosen}: choose a .wav name instead"
                    ) from error
                raise
        self.subtype = self._encoder.subtype  # that is written
        # Samples beyond full scale do not survive; only the floating-point formats keep them.
        self.clips = self.subtype not in ("FLOAT", "DOUBLE")

    def write(self, samples: Samples) -> None:
        """Append samples ``(channels, n)``; UserError where the disk is full or the folder gone."""
        with self._told():
            self._encoder.write(samples)

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, *raised: Any) -> None:
        if raised[0] is not None:
            self._encoder.abort()
            self._whole.__exit__(*raised)
            return
        with self._told(), self._whole:
            self._encoder.close()
            self.left_out = self._encoder.left_out
            if self._source is not None and not self._source.plain:
                from audio_denoising.media.about import complete

                source, told = self._source.path, self.left_out
                self.left_out += complete(source, self._temporary, self._rate, told)
            require_free(self.path, force=self._force)

    def _open(
        self, container: str, subtype: str, rate: int, channels: int, frames: int
    ) -> SndfileEncoder | MediaEncoder:
        kind = container_of(self.path)
        # The length may be off by far: of joined recordings only the first tells of its own.
        short = 0 < frames * channels < _SURELY_SHORT
        bare = self._source is None or self._source.plain  # nothing to carry over
        if kind.encoders[subtype] == LIBSNDFILE or (
            container == "wav" and subtype in INTEGER_BITS and channels <= 2 and short and bare
        ):
            return SndfileEncoder(self._temporary, rate, channels, subtype)
        if kind.name == "wav":
            # Where the length is not known, room is left to make it an RF64 in the end.
            large = "always" if container == "rf64" else "never" if short else "auto"
            kind = replace(kind, options={**kind.options, "rf64": large})
        # Here, not above: FFmpeg's libraries take a moment to load.
        from audio_denoising.media.ffmpeg_writing import MediaEncoder

        return MediaEncoder(self._temporary, rate, channels, kind, subtype, self._source)

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
