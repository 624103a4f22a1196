"""Sets of shards: tar files of training audio for corpora beyond one disk.

``denoise data shard`` writes, for each split, ``speech-train-000000.tar``, ``speech-train-000001
.tar`` … and the index ``speech-train.json``; likewise noise. Such a set is named by its files, here
or on a web server, with braces as shells and webdataset have them:
``shards/speech-train-{000000..000009}.tar``, ``https://host/speech-train-{000000..000099}.tar``, or
with ``*`` for files here. Shards that others wrote in WebDataset's way serve as well; without an
index the number of recordings, the split and the speakers are not known beforehand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from audio_denoising.errors import UserError
from audio_denoising.mixing.shard_opening import MissingShard, is_remote, open_shard

INSTALL = "pip install webdataset"

_SHARD = re.compile(r"([^/\\:]+)-\d+\.tar")
_ENDINGS = (".tar", ".tar.gz", ".tgz")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)  # two letters: c:\ is a path


@dataclass(frozen=True)
class Shard:
    """One file of a set: how many pieces of audio it holds, how long they are together, its bytes
    and their checksum."""

    name: str
    pieces: int
    seconds: float
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardIndex:
    """What is in a set: its kind ("speech" or "noise"), split, speakers or noise sources, files."""

    what: str
    split: str
    groups: list[str]
    shards: list[Shard]

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.what}-{self.split}.json"

    @property
    def pattern(self) -> str:
        """All its shards in one word, as `find_shards` takes it."""
        numbers = [shard.name.rpartition("-")[2].removesuffix(".tar") for shard in self.shards]
        stem = f"{self.what}-{self.split}"
        if len(numbers) == 1:
            return f"{stem}-{numbers[0]}.tar"
        return f"{stem}-{{{numbers[0]}..{numbers[-1]}}}.tar"

    def to_json(self) -> str:
        """As it is stored, a shard a line."""
        shards = ",\n  ".join(json.dumps(asdict(shard)) for shard in self.shards)
        head = {"what": self.what, "split": self.split, "groups": self.groups}
        lines = [f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in head.items()]
        return "{\n" + ",\n".join(lines) + f',\n "shards": [\n  {shards}\n ]\n}}\n'

    @classmethod
    def from_json(cls, text: str, origin: str) -> ShardIndex:
        """Reads what `to_json` wrote; UserError names ``origin`` if it is something else."""
        try:
            content: dict[str, Any] = json.loads(text)
            shards = [Shard(**entry) for entry in content.pop("shards")]
            if not all(_SHARD.fullmatch(shard.name) for shard in shards):
                raise ValueError("a shard is not called like one")
            return cls(**content, shards=shards)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{origin} is no index of shards, or it is damaged: copy it again, or remove it "
                "and give the length of an epoch by --epoch-size"
            ) from error


@dataclass(frozen=True)
class ShardSet:
    """The shards to read, and their indices where there are any.

    ``counts`` says how many pieces of audio each of them holds, as far as that is known.
    """

    what: str
    urls: list[str]
    indices: list[ShardIndex]
    counts: dict[str, int]

    @property
    def pieces(self) -> int | None:
        """All pieces together; None where not all are known."""
        known = len(self.counts) == len(set(self.urls))
        return sum(self.counts[url] for url in self.urls) if known else None

    @property
    def splits(self) -> set[str]:
        """The splits that the indices name."""
        return {index.split for index in self.indices}

    @property
    def groups(self) -> set[str]:
        """The speakers or noise sources that the indices name."""
        return {group for index in self.indices for group in index.groups}


def is_shards(text: str) -> bool:
    """Whether ``text``, given to --speech or --noise, names shards and not a folder."""
    return text.endswith(_ENDINGS) or is_remote(text) or text.startswith("pipe:")


def find_shards(specs: str | Sequence[str], what: str) -> ShardSet:
    """The shards that one or several specifications name together.

    Args:
        specs: paths or addresses, with braces or (paths only) ``*``.
        what: "speech" or "noise".

    Raises:
        UserError: one names nothing, or nothing that can be opened; or its index is damaged.
    """
    urls: list[str] = []
    for spec in [specs] if isinstance(specs, str) else specs:
        urls += _expand(spec, what)
    indices = {place: _read_index(place) for place in dict.fromkeys(map(_index_of, urls)) if place}
    known = [index for index in indices.values() if index is not None]
    pieces = {
        f"{_folder(place)}{shard.name}": shard.pieces
        for place, index in indices.items()
        for shard in (index.shards if index else ())
    }
    for index in known:
        if index.what != what:
            raise UserError(
                f"{index.name} is an index of {index.what}: give these shards to --{index.what}"
            )
    return ShardSet(what, urls, known, {url: pieces[url] for url in urls if url in pieces})


def sibling(shards: ShardSet, split: str) -> ShardSet:
    """The set of another split that lies beside these shards, whole, as its index lists it.

    Raises UserError if there is none, or these are of that split themselves.
    """
    if split in shards.splits:
        raise UserError(
            f"The {shards.what} shards hold the {split} split: give those of the train split"
        )
    urls: list[str] = []
    for folder in dict.fromkeys(_folder(url) for url in shards.urls):
        place = f"{folder}{shards.what}-{split}.json"
        index = _read_index(place)
        if index is None:
            raise UserError(
                f"There is no {place}: write it with `denoise data shard --split {split}`, which "
                f"gives a run something to {'validate on' if split == 'validation' else 'read'}"
            )
        urls += [folder + shard.name for shard in index.shards]
    return find_shards(urls, shards.what)


def require_split(shards: ShardSet, split: str) -> None:
    """Refuses shards that are known to hold another split.

    Raises UserError; the pieces themselves name their split too, and are checked as they are read.
    """
    for other in shards.splits - {split}:
        raise UserError(
            f"The {shards.what} shards hold the {other} split: give those of the {split} split"
        )


def require_apart(one: ShardSet, other: ShardSet) -> None:
    """Refuses two sets that share a speaker or a noise source, as far as their indices tell.

    Raises UserError.
    """
    shared = one.groups & other.groups
    if shared:
        raise UserError(
            f"{min(shared)} and {len(shared) - 1} more {one.what} groups are in the shards of both "
            "splits: write both with one call of `denoise data shard`"
        )


def _expand(spec: str, what: str) -> list[str]:
    scheme = _SCHEME.match(spec)
    if spec == "-" or (scheme and not is_remote(spec)):
        raise UserError(
            f"{spec!r} is not opened: --{what} takes paths and http(s) addresses of tar files"
        )
    if not is_remote(spec) and Path(spec).exists():
        return [spec]
    try:
        from braceexpand import braceexpand
    except ImportError as error:
        raise UserError(f"Reading shards needs the webdataset library: {INSTALL}") from error
    try:
        urls = list(braceexpand(spec))
    except ValueError as error:
        raise UserError(f"{spec!r} has braces that do not match ({error})") from error
    if not is_remote(spec):
        urls = [path for url in urls for path in (_matching(url) if "*" in url else [url])]
        if not urls:
            raise UserError(f"No file matches {spec}: check the name of the shards")
        missing = [url for url in urls if not Path(url).is_file()]
        if missing:
            raise UserError(
                f"{missing[0]} does not exist ({len(missing)} of {len(urls)} shards of {spec} are "
                "missing): check the numbers in braces, or copy them again"
            )
    return urls


def _matching(pattern: str) -> list[str]:
    path = Path(pattern)
    return sorted(str(found) for found in path.parent.glob(path.name))


def _folder(url: str) -> str:
    """What stands before the file's name, its slash included."""
    return url[: len(url) - len(_name(url))]


def _name(url: str) -> str:
    return PurePosixPath(url).name if is_remote(url) else Path(url).name


def _index_of(url: str) -> str | None:
    """Where the index of the set lies that the file belongs to, if it is called like a shard."""
    match = _SHARD.fullmatch(_name(url))
    return f"{_folder(url)}{match[1]}.json" if match else None


def _read_index(place: str) -> ShardIndex | None:
    try:
        with open_shard(place) as file:
            text = file.read().decode("utf-8", errors="replace")
    except MissingShard:
        return None
    return ShardIndex.from_json(text, place)
