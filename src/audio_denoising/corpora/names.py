"""The files that `--hold-out` names, by a speaker, a noise source or a folder, to validate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audio_denoising.corpora.corpus import Recording, by_name
from audio_denoising.errors import UserError


def files_held_out(names: Sequence[str], recordings: Sequence[Recording]) -> set[Path]:
    """The files that names hold out; UserError if one fits nothing."""
    held: set[Path] = set()
    for name in names:
        found = _held_out(name, recordings)
        if not found:
            raise UserError(
                f"Nothing to hold out is called {name!r}; give the name of a speaker or of a "
                "noise source as the corpus has it, or the path of a folder inside the corpus."
            )
        held |= found
    return held


def require_held_out(
    names: Sequence[str], speech: Sequence[str | Path], noise: Sequence[str | Path]
) -> None:
    """Raises UserError if a name of ``hold_out`` fits no file in the folders, by its name alone."""
    if names:
        folders = ((speech, "speech"), (noise, "noise"))
        named = [by_name(place, what) for places, what in folders for place in places]
        files_held_out(names, [each for found in named for each in found])


def _held_out(name: str, recordings: Sequence[Recording]) -> set[Path]:
    """The files that ``name`` holds out: below a folder, or of a group called so."""
    if not name:
        return set()
    folder = Path(name).resolve()
    return {
        recording.path
        for recording in recordings
        if folder in recording.path.parents or f"/{recording.group}".endswith(f"/{name}")
    }
