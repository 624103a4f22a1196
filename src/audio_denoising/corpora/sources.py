"""The places that a run takes speech or noise from, as the command line names and weights them, and
the recordings in them by their names alone: a wrong place is told before anything is loaded.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from audio_denoising.errors import UserError

EXTENSIONS = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"})

# "DIR=2", but not an address that ends in "?token=2".
_WEIGHTED = re.compile(r"(?P<place>[^?]+)=(?P<weight>[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)", re.I)


class Source(NamedTuple):
    """A folder, or tar shards by path or address, and how often it is drawn relative to others."""

    place: str
    weight: float | None = None  # its size decides


def is_shards(place: str) -> bool:
    """Whether ``place`` names tar shards and not a folder."""
    return (
        place.endswith((".tar", ".tar.gz", ".tgz"))
        or re.match("https?://|pipe:", place) is not None
    )


def parse_sources(texts: Sequence[str], option: str) -> list[Source]:
    """Reads ``DIR`` or ``DIR=WEIGHT``, as the command line takes them behind an option.

    What exists under its whole name is a folder, even with a "=" in it. UserError where a weight is
    not above 0, or some have a weight and others have none.
    """
    sources = [_parse(text, option) for text in texts]
    if len({source.weight is None for source in sources}) > 1:
        bare = next(source for source in sources if source.weight is None)
        raise UserError(
            f"{option} {bare.place} has no weight and others have one: give every {option} a "
            "weight (DIR=WEIGHT), or none"
        )
    return sources


def require_folder(folder: Path, what: str) -> None:
    """Raises UserError if a folder of ``what`` ("speech" or "noise") is not there."""
    if not folder.exists():
        raise UserError(
            f"The {what} folder {folder} does not exist: check the path behind --{what}; "
            "`denoise data download` fetches speech and noise"
        )
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: --{what} takes a folder of recordings")


def require_recordings(folder: Path, what: str) -> None:
    """Raises UserError if a folder of ``what`` is not there, or no file in it is called like sound.

    It is left at the first one: whether that can be read, who reads it will tell.
    """
    require_folder(folder, what)
    if not any(True for _ in audio_files(folder.resolve())):
        raise UserError(nothing_found(folder, what))


def nothing_found(folder: Path, what: str, unreadable: int = 0) -> str:
    """The sentence for a folder with so many audio files, none of which is a recording."""
    why = f"none of its {unreadable} audio files can be read" if unreadable else "no audio files"
    kinds = ", ".join(sorted(kind[1:] for kind in EXTENSIONS))
    return f"No {what} was found in {folder} ({why}); point --{what} at a folder of {kinds}."


def audio_files(root: Path) -> Iterator[Path]:
    """Yields the audio files below ``root``, relative to it, following links but not in circles."""

    def refuse(error: OSError) -> None:
        raise UserError(
            f"The folder {error.filename} cannot be read ({error.strerror}); "
            "check its permissions or point at another folder."
        )

    seen = set()
    for place, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        status = Path(place).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(place).relative_to(root)
        for path in map(here.joinpath, files):
            # "._x.wav" is what macOS leaves beside x.wav: no audio in it.
            if not path.name.startswith(".") and path.suffix.lower() in EXTENSIONS:
                yield path


def require_folders(speech: Sequence[Source], noise: Sequence[Source]) -> None:
    """`require_recordings` for all that are no tar shards."""
    for sources, what in ((speech, "speech"), (noise, "noise")):
        for source in sources:
            if not is_shards(source.place):
                require_recordings(Path(source.place), what)


def weights_of(sources: Sequence[Source]) -> list[float | None] | None:
    """The weights, as a run remembers them; None for one folder that is given none."""
    weights = [source.weight for source in sources]
    return None if weights == [None] else weights


def _parse(text: str, option: str) -> Source:
    weighted = None if Path(text).exists() else _WEIGHTED.fullmatch(text)
    if not weighted:
        return Source(text)
    weight = float(weighted["weight"])
    if not 0 < weight < math.inf:
        raise UserError(f"{option} {text}: a weight must be above 0, leave the folder out instead")
    return Source(weighted["place"], weight)
