"""Writing an audio file so that it appears whole or not at all.

Samples go to a hidden file with a temporary name in the folder of the output; it takes the final
name only when it is complete. An error or Ctrl-C on the way removes it.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audio_denoising.errors import UserError
from audio_denoising.io.formats import (
    LIBSNDFILE,
    CannotHoldError,
    choose_format,
    container_of,
)
from audio_denoising.io.formats import default_output as default_output
from audio_denoising.io.sndfile import ERRORS as _REFUSED
from audio_denoising.io.sndfile import SndfileEncoder

if TYPE_CHECKING:
    from audio_denoising.io.mux import MediaEncoder
    from audio_denoising.io.reading import AudioReader

Samples = npt.NDArray[np.float32]


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
        UserError: the file exists and ``force`` is not given, the folder is missing or cannot be
            written to, the extension is unknown, the format cannot hold this rate or this many
            channels, or the disk is full.
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
        self._force = force
        check_output(self.path, force=force)
        container, chosen = choose_format(self.path, subtype, frames * channels)
        # A link stays a link: what it points to is replaced.
        self._target = self.path.resolve()
        self._temporary = self._target.with_name(
            f".{self._target.stem[:40]}.{uuid.uuid4().hex[:8]}.part"
        )
        try:
            # libsndfile takes a refused folder and a refused format for the same error.
            self._temporary.touch(exist_ok=False)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._encoder = self._open(container, chosen, rate, channels, source)
        except BaseException as error:
            self._temporary.unlink(missing_ok=True)
            if isinstance(error, CannotHoldError):
                raise UserError(
                    f"{self.path} cannot hold {error}: choose a .mkv name instead, which keeps the "
                    f"video, or a .wav name for the sound alone"
                ) from error
            if isinstance(error, _REFUSED):
                raise UserError(
                    f"{self.path} cannot hold {channels} channel(s) at {rate} Hz as {container} "
                    f"{chosen}: choose a .wav name instead"
                ) from error
            raise
        self.subtype = self._encoder.subtype
        self.clips = self.subtype not in ("FLOAT", "DOUBLE")

    @property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for each stream of the source that the output cannot hold."""
        return self._encoder.left_out

    def write(self, samples: Samples) -> None:
        """Append samples ``(channels, n)``, full scale at 1.

        Raises:
            UserError: the disk is full or the folder has gone.
        """
        try:
            self._encoder.write(samples)
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
        try:
            if kind is not None:
                self._encoder.abort()
                return
            self._encoder.close()
            check_output(self.path, force=self._force)
            self._temporary.replace(self._target)
        except OSError as problem:
            raise self._unwritable(problem) from problem
        finally:
            self._temporary.unlink(missing_ok=True)

    def _open(
        self, container: str, subtype: str, rate: int, channels: int, source: AudioReader | None
    ) -> SndfileEncoder | MediaEncoder:
        if container_of(self.path).encoders[subtype] == LIBSNDFILE:
            tags = source.tags if source is not None else {}
            return SndfileEncoder(self._temporary, rate, channels, container, subtype, tags)
        # Here, not above: FFmpeg's libraries take a moment to load.
        from audio_denoising.io.mux import MediaEncoder

        return MediaEncoder(
            self._temporary, rate, channels, container_of(self.path), subtype, source
        )

    def _unwritable(self, error: BaseException) -> UserError:
        reason = getattr(error, "strerror", None) or "the disk may be full"
        return UserError(
            f"{self.path} cannot be written ({reason}): free some space, or choose another folder "
            f"with the output option"
        )


def check_output(path: str | Path, *, force: bool = False) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Raises:
        UserError: it exists and ``force`` is not given, is a folder or a device, has an unknown
            extension, or its folder does not exist or cannot be written to.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder: give the name of a file in it")
        choose_format(path, "PCM_16")
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is not a regular file: choose another output name")
        if path.exists() and not force:
            raise UserError(f"{path} exists already: choose another name, or replace it by --force")
        folder = path.resolve().parent
        if not folder.is_dir():
            raise UserError(f"{path} cannot be written, there is no folder {folder}: create it")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(
                f"{path} cannot be written, {folder} is not yours to write to: "
                f"choose another folder"
            )
    except (OSError, ValueError, RuntimeError) as error:
        # ValueError: a NUL character in the name. RuntimeError: links in a circle.
        raise UserError(f"{path} cannot be written: choose another output name") from error
