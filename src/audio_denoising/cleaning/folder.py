"""The recordings in a folder, or behind a pattern such as ``talks/*.mp3``."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from audio_denoising.errors import UserError
from audio_denoising.media.formats import MEDIA_EXTENSIONS
from audio_denoising.paths import is_folder, same_file

DENOISED, NOISE = "_denoised", "_noise"  # how the names of results end
_Path = TypeVar("_Path", bound=PurePath)


def recordings(
    name: str, recursive: bool, output: Path | None, left_out: list[str]
) -> list[tuple[Path, Path]]:
    """Those behind the name of a folder, or a pattern, each with its place below it.

    Args:
        name: of a folder; or a pattern, also "**/*.wav".
        recursive: take the folders inside a folder, too.
        output: the folder of the results, which is left out.
        left_out: where a sentence goes on what was found and is no recording to clean.

    Raises:
        UserError: there are none, or the folder cannot be listed.
    """
    if is_folder(Path(name)):
        root, found = Path(name), _in_folder(Path(name), recursive, output, left_out)
    else:
        # Path.glob takes no absolute patterns.
        matches = sorted(map(Path, glob.glob(name, recursive=True)))  # noqa: PTH207
        if not matches:
            raise UserError(f"no file fits {name}: check the pattern and the folder")
        parts = Path(name).parts
        fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
        root, found = Path(*parts[:fixed]), [match for match in matches if match.is_file()]
    made = earlier_results(found, left_out)
    return [(each, each.relative_to(root)) for each in found if each not in made]


def earlier_results(recordings: Sequence[_Path], left_out: list[str]) -> set[_Path]:
    """Those among some recordings that an earlier run made of others among them.

    A name alone tells nothing: a user has a ``street_noise.wav``, too. ``X_denoised`` is a result
    where ``X`` stands beside it, ``X_noise`` where both do. A sentence on them joins ``left_out``.
    """
    stems = {(path.parent, path.stem) for path in recordings}

    def is_result(path: _Path) -> bool:
        for ending, others in ((DENOISED, ("",)), (NOISE, ("", DENOISED))):
            name = path.stem.removesuffix(ending)
            if name != path.stem:
                return all((path.parent, f"{name}{other}") in stems for other in others)
        return False

    made = sorted(filter(is_result, recordings))
    if made:
        names = ", ".join(path.name for path in made[:3])
        more = f" and {len(made) - 3} more" if made[3:] else ""
        left_out.append(
            f"{names}{more} left out: made by an earlier run from the recordings beside"
        )
    return set(made)


def _in_folder(root: Path, recursive: bool, folder: Path | None, left_out: list[str]) -> list[Path]:
    """The recordings in a folder; not hidden files, and not what lies in the output folder."""
    found = []

    def closed(error: OSError) -> None:
        if error.filename == str(root):
            raise UserError(f"{root} cannot be listed ({error.strerror}): check your permissions")
        left_out.append(f"{error.filename} left out: it cannot be listed ({error.strerror})")

    for parent, folders, names in os.walk(root, onerror=closed):
        here = Path(parent)
        hidden = {name for name in folders if name.startswith(".")}
        outputs = {name for name in folders if folder and same_file(here / name, folder)}
        folders[:] = sorted(set(folders) - hidden - outputs) if recursive else []
        found += [
            here / name
            for name in names
            if Path(name).suffix.lower() in MEDIA_EXTENSIONS and not name.startswith(".")
        ]
    if not found:
        more = "" if recursive else ": add --recursive to take the folders inside it, too"
        raise UserError(f"{root} is a folder without recordings{more or ': give another one'}")
    return sorted(found)
