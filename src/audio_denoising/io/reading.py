"""Reading an audio file in blocks, with a plain sentence for everything that can be wrong with it.

libsndfile (through soundfile) decodes WAV, FLAC, OGG (Vorbis and Opus), MP3, AIFF and more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import soundfile

from audio_denoising.errors import UserError

Samples = npt.NDArray[np.float32]

_UNKNOWN_LENGTH = 2**60  # libsndfile's answer for a stream whose header leaves the length open


class AudioReader:
    """An audio file opened for reading from its start to its end; use it in a ``with`` block.

    Attributes:
        path: the file.
        rate: sample rate in Hz.
        channels: number of channels.
        frames: samples per channel as the header gives them, 0 where it leaves them open.
        subtype: sample format in libsndfile's words, such as ``PCM_24`` or ``VORBIS``.

    Raises:
        UserError: the file is missing, a folder, empty, unreadable, not audio, or without samples.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        _require_file(self.path)
        try:
            self._file = soundfile.SoundFile(self.path)
        except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
            # TypeError: headerless .raw, which soundfile opens only with its rate given.
            # ValueError: a file name that is not valid Unicode.
            raise UserError(
                f"{self.path} is not an audio file that can be read here, or it is damaged: give a "
                f"WAV, FLAC, OGG, Opus, MP3 or AIFF file, or convert it first, for example with "
                f"ffmpeg -i {self.path.name} {self.path.stem}_converted.wav"
            ) from error
        self.rate = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        self.subtype = str(self._file.subtype)
        frames = int(self._file.frames)
        self.frames = frames if frames < _UNKNOWN_LENGTH else 0
        if frames == 0:
            self._file.close()
            raise UserError(f"{self.path} holds no samples: record or export it again")

    def blocks(self, size: int) -> Iterator[Samples]:
        """Read on to the end of the file in blocks of ``size`` samples, the last one shorter.

        Yields:
            float32 arrays ``(channels, n)`` with full scale at 1.

        Raises:
            UserError: the file ends early, is corrupt, or holds NaN or infinite samples.
        """
        done = 0
        while True:
            try:
                block = self._file.read(size, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, OSError) as error:
                raise self._damaged(done) from error
            if len(block) == 0:
                break
            if not np.isfinite(block).all():
                raise UserError(
                    f"{self.path} holds samples that are not numbers (NaN or infinite), the first "
                    f"after {self._time(done, block)}: export it again from the original"
                )
            done += len(block)
            yield np.ascontiguousarray(block.T)
        if done == 0 or done < self.frames:
            raise self._damaged(done)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _damaged(self, done: int) -> UserError:
        return UserError(
            f"{self.path} is truncated or corrupt, it cannot be read beyond "
            f"{done / self.rate:.2f} s: copy or download it again"
        )

    def _time(self, done: int, block: Samples) -> str:
        first = int(np.argmin(np.isfinite(block).all(axis=1)))
        return f"{(done + first) / self.rate:.2f} s"


def read_audio(path: str | Path) -> tuple[Samples, int]:
    """Read a whole file.

    Returns:
        float32 array ``(channels, samples)`` with full scale at 1, and the sample rate in Hz.

    Raises:
        UserError: as :class:`AudioReader` and its ``blocks``.
    """
    with AudioReader(path) as reader:
        blocks = list(reader.blocks(1 << 20))
    return np.concatenate(blocks, axis=1), reader.rate


def _require_file(path: Path) -> None:
    """Refuse what is not a regular, readable, non-empty file."""
    try:
        if not path.exists():
            raise UserError(f"{path} does not exist: check the name and the folder")
        if path.is_dir():
            raise UserError(f"{path} is a folder: give one audio file inside it")
        if not path.is_file():
            raise UserError(f"{path} is not a regular file: save the audio to a file first")
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty (0 bytes): record, copy or download it again")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise UserError(f"{path} cannot be read: check its name and your permissions") from error
