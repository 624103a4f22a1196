"""Writing an audio file so that it appears whole or not at all.

Samples go to a hidden file with a temporary name in the folder of the output; it takes the final
name only when it is complete. An error or Ctrl-C on the way removes it.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import soundfile

from audio_denoising.errors import UserError

Samples = npt.NDArray[np.float32]

# Extension -> (container, sample formats it keeps, from the first preferred to the last).
_PCM = ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
_FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    ".wav": ("WAV", (*_PCM, "PCM_U8", "ULAW", "ALAW")),
    ".flac": ("FLAC", ("PCM_16", "PCM_24", "PCM_S8")),
    ".ogg": ("OGG", ("VORBIS", "OPUS")),
    ".oga": ("OGG", ("VORBIS", "OPUS")),
    ".opus": ("OGG", ("OPUS",)),
    ".mp3": ("MP3", ("MPEG_LAYER_III",)),
    ".aiff": ("AIFF", (*_PCM, "PCM_S8", "ULAW", "ALAW")),
    ".aif": ("AIFF", (*_PCM, "PCM_S8", "ULAW", "ALAW")),
    ".w64": ("W64", (*_PCM, "PCM_U8")),
    ".caf": ("CAF", (*_PCM, "PCM_S8")),
}
# The nearest sample format where the output cannot hold the input's own.
_NEAREST = {
    "PCM_32": "PCM_24",
    "FLOAT": "PCM_24",
    "DOUBLE": "PCM_24",
    "PCM_S8": "PCM_U8",
    "PCM_U8": "PCM_S8",
}
_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "DOUBLE": 8}
_WAV_LIMIT = 2**32 - 2**16  # a WAV header counts bytes in 32 bits


def default_output(path: str | Path) -> Path:
    """Where the denoised form of ``path`` goes when nothing is said: ``NAME_denoised.wav``."""
    path = Path(path)
    return path.with_name(f"{path.stem}_denoised.wav")


def choose_format(path: Path, subtype: str, size: int = 0) -> tuple[str, str]:
    """Container and sample format for an output file.

    The sample format of the input is kept where the container can hold it; else the nearest one
    that loses nothing audible.

    Args:
        path: the output; its extension decides the container.
        subtype: sample format of the input in libsndfile's words, such as ``PCM_24``.
        size: samples over all channels. A WAV beyond 4 GiB becomes RF64, its large-file form.

    Returns:
        libsndfile's names, such as ``("WAV", "PCM_24")``.

    Raises:
        UserError: the extension is unknown.
    """
    if path.suffix.lower() not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise UserError(f"{path} does not end in a known audio format: choose one of {known}")
    container, kept = _FORMATS[path.suffix.lower()]
    nearest = _NEAREST.get(subtype, kept[0])
    chosen = subtype if subtype in kept else nearest if nearest in kept else kept[0]
    if container == "WAV" and size * _BYTES.get(chosen, 4) > _WAV_LIMIT:
        container = "RF64"
    return container, chosen


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
    ) -> None:
        self.path = Path(path)
        self._force = force
        self._rate = rate
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
            self._file = soundfile.SoundFile(
                self._temporary, "w", rate, channels, chosen, format=container
            )
        except BaseException as error:
            self._temporary.unlink(missing_ok=True)
            if isinstance(error, soundfile.SoundFileError | ValueError | OSError):
                raise UserError(
                    f"{self.path} cannot hold {channels} channel(s) at {rate} Hz as {container} "
                    f"{chosen}: choose a .wav name instead"
                ) from error
            raise

    def write(self, samples: Samples) -> None:
        """Append samples ``(channels, n)``, full scale at 1.

        Raises:
            UserError: the disk is full or the folder has gone.
        """
        try:
            self._file.write(np.ascontiguousarray(samples.T))
        except (soundfile.SoundFileError, OSError, AssertionError) as error:
            # AssertionError: how soundfile reports that fewer samples were written than given.
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
            self._close()
            if kind is None:
                check_output(self.path, force=self._force)
                self._temporary.replace(self._target)
        except OSError as problem:
            raise self._unwritable(problem) from problem
        finally:
            self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        try:
            self._file.close()
        except soundfile.SoundFileError as error:
            raise self._unwritable(error) from error

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
