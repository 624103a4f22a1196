"""What hostile files are given to: the way by which the commands read them."""

from __future__ import annotations

from pathlib import Path

# Here, so that a process has loaded them before the first file, whose limits they would count in.
import audio_denoising.media.ffmpeg_writing  # noqa: F401
from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.media.about import read_about
from audio_denoising.media.formats import CONTAINERS, default_output
from audio_denoising.media.reading import AudioReader

_BLOCK = 1 << 18  # samples

# The network is left out: a file reaches it only as numbers.
_UNCHANGED = Denoiser(lambda images: images, name="unchanged")


def clean_media(path: Path) -> None:
    """Reads a recording strictly, and then as `denoise clean` does: what can be read of it.

    The output is of the input's own kind where that can be written, so that tags, covers, chapters
    and the picture are carried over too.
    """
    suffix = path.suffix if path.suffix in CONTAINERS else default_output(path).suffix
    output = path.with_name(f"out{suffix}")
    try:
        _UNCHANGED.denoise_file(path, output, salvage=True, force=True)
    finally:
        output.unlink(missing_ok=True)
    with AudioReader(path) as reader:
        assert isinstance(read_about(reader.path).tags, dict)
        for _ in reader.blocks(_BLOCK):
            pass
