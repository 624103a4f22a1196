"""A file as FFmpeg opens it: its tracks of sound, and what it tells beside them.

Only local files are opened: a playlist that names a web address fetches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.stream import Disposition

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

ERRORS = (av.FFmpegError, OSError, ValueError)
"""What opening a file raises."""


class NoSoundTrackError(Exception):
    """A video, or a picture, without sound."""


# Entries that describe the old file, not the recording.
_TECHNICAL = {
    "compatible_brands",
    "duration",
    "encoder",
    "handler_name",
    "isvbr",
    "itunsmpb",
    "major_brand",
    "minor_version",
    "vendor_id",
    "wm/encodingtime",
    "wmfsdkneeded",
    "wmfsdkversion",
}


def open_media(path: Path) -> InputContainer:
    """Open a local file.

    Raises:
        ERRORS: FFmpeg does not recognise it.
    """
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


@dataclass(frozen=True)
class About:
    """What a file tells beside its sound.

    Attributes:
        tags: title, artist, date, comment ... under FFmpeg's names.
        chapters: where in seconds each begins, and its title.
        covers: the number of cover pictures.
    """

    tags: dict[str, str] = field(default_factory=dict)
    chapters: tuple[tuple[float, str], ...] = ()
    covers: int = 0


def read_about(path: Path) -> About:
    """What a file tells beside its sound; nothing where FFmpeg cannot read it."""
    try:
        with open_media(path) as container:
            tags = dict(container.metadata)
            if "ogg" in container.format.name and container.streams.audio:
                tags |= container.streams.audio[0].metadata  # where Ogg keeps them
            chapters = [
                (float(c["start"] * (c["time_base"] or 0)), c["metadata"].get("title", ""))
                for c in container.chapters()
            ]
            covers = sum(bool(s.disposition & Disposition.attached_pic) for s in container.streams)
    except ERRORS:
        return About()
    # Matroska, FLAC and Ogg write ARTIST or Artist.
    named = {name.lower() if name.isalpha() else name: text for name, text in tags.items()}
    named = {name: text for name, text in named.items() if name.lower() not in _TECHNICAL}
    return About(named, tuple(chapters), covers)


def layout_name(layout: str) -> str:
    """A layout's name, empty for ``6 channels``, which tells no order."""
    return "" if layout.endswith("channels") else layout
