"""Tar shards by their names: paths or addresses, with braces and stars."""

from __future__ import annotations

from pathlib import Path

from audio_denoising.errors import UserError

INSTALL_SHARDS = "Shards need the webdataset library: pip install webdataset"


def shard_urls(place: str) -> list[str]:
    """The paths or addresses of the shards that a place names; UserError where there are none."""
    try:
        from braceexpand import braceexpand  # what webdataset expands addresses by

        names = list(braceexpand(place))
    except ImportError as error:
        raise UserError(INSTALL_SHARDS) from error
    except ValueError as error:
        raise UserError(f"{place!r} has braces that do not match ({error})") from error
    if is_remote(place):
        return names
    found = {path: sorted(path.parent.glob(path.name)) for path in map(Path, names)}
    if missing := [path for path, there in found.items() if not there]:
        raise UserError(f"{missing[0]} does not exist: check the name, or copy the shards again")
    return [path.as_posix() for there in found.values() for path in there]


def is_remote(place: str) -> bool:
    """Whether shards are fetched from a web server."""
    return place.startswith(("http://", "https://"))
