"""Sets of shards: tar files of training audio for corpora beyond one disk, and their pieces.

``denoise data shard`` writes, for each split, ``speech-train-000000.tar``, ``speech-train-000001
.tar`` … and the index ``speech-train.json``; likewise noise. Such a set is named by its files, here
or on a web server, with braces as shells and webdataset have them:
``shards/speech-train-{000000..000009}.tar``, ``https://host/speech-train-{000000..000099}.tar``, or
with ``*`` for files here. Shards that others wrote in WebDataset's way serve as well; without an
index the number of recordings, the split and the speakers are not known beforehand. Nothing but
audio and JSON is decoded, no pickles, and nothing but paths and http(s) addresses is opened.
"""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch

from audio_denoising.corpora.corpus import Recording
from audio_denoising.corpora.sources import EXTENSIONS
from audio_denoising.corpora.transfer import Transfer, TransferDisplay
from audio_denoising.errors import UserError
from audio_denoising.files import save_whole
from audio_denoising.mixing.bank import SoundBank
from audio_denoising.mixing.library import Library

INSTALL = "pip install webdataset"

_NAME = re.compile(r"(.*/)?([^/\\:]+)-\d+\.tar")  # of a shard: folder, and name of the index
_sleep = time.sleep  # before a broken connection is tried again


class Shard(NamedTuple):
    """One file of a set: how many pieces it holds, how long they are together."""

    name: str
    pieces: int
    seconds: float
    bytes: int


@dataclass
class ShardIndex:
    """What is in a set: ``groups`` are speakers or noise sources, ``plan`` is a checksum of the
    recordings and of what goes where, ``left_out`` tells which recordings are missing, and why;
    ``finished`` is False until the last shard is written."""

    what: str
    split: str
    groups: list[str] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    plan: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    finished: bool = True

    def save(self, folder: Path) -> None:
        """Writes ``WHAT-SPLIT.json``, whole or not at all."""
        content = {**vars(self), "shards": [shard._asdict() for shard in self.shards]}
        text = json.dumps(content, ensure_ascii=False, indent=1)
        place = folder / f"{self.what}-{self.split}.json"
        save_whole(place, lambda path: path.write_text(text, encoding="utf-8"))

    @classmethod
    def read(cls, place: str) -> ShardIndex | None:
        """The index at a path or address; None if there is none.

        Raises:
            UserError: it cannot be fetched, or is something else.
        """
        try:
            with _opened(place) if _is_remote(place) else Path(place).open("rb") as file:
                content = json.load(file)
            # By name: sets of an earlier day hold checksums too.
            shards = [Shard(*(each[name] for name in Shard._fields)) for each in content["shards"]]
            if any(not (name := _NAME.fullmatch(each.name)) or name[1] for each in shards):
                raise ValueError("a shard is not called like one")
            return cls(**{**content, "shards": shards})
        except OSError as error:
            if isinstance(error, FileNotFoundError) or getattr(error, "code", 0) in (404, 410):
                return None
            raise UserError(f"{place} cannot be read ({error}): check the address") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{place} is no index of shards, or it is damaged: copy it again, or remove it "
                "and give the length of an epoch by --epoch-size"
            ) from error


@dataclass
class ShardSet:
    """The shards to read, and what their indices say, where there are any."""

    what: str
    urls: list[str]
    known: dict[str, Shard] = field(default_factory=dict)  # by path or address
    groups: set[str] = field(default_factory=set)  # the speakers or noise sources
    splits: set[str] = field(default_factory=set)
    damaged: dict[str, None] = field(default_factory=dict)  # pieces and shards, so far

    @property
    def pieces(self) -> int | None:
        """All pieces together; None where not all are known."""
        if not self.known.keys() >= set(self.urls):
            return None
        return sum(self.known[url].pieces for url in self.urls)

    def validation(self) -> ShardSet:
        """The validation split beside these shards of the train split, as its index lists it.

        Raises:
            UserError: there is none, these are of another split, or both share a speaker or a
                noise source, as far as indices tell.
        """
        for other in self.splits - {"train"}:
            raise UserError(
                f"The {self.what} shards hold the {other} split: give those of the train split"
            )
        urls: list[str] = []
        for folder in dict.fromkeys(map(_folder, self.urls)):
            place = f"{folder}{self.what}-validation.json"
            index = ShardIndex.read(place)
            if index is None:
                raise UserError(
                    f"There is no {place}: write it with `denoise data shard --split validation`, "
                    "which gives a run something to validate on"
                )
            urls += [folder + shard.name for shard in index.shards]
        found = find_shards(urls, self.what)
        if shared := self.groups & found.groups:
            raise UserError(
                f"{min(shared)} and {len(shared) - 1} more {self.what} groups are in the shards of "
                "both splits: write both with one call of `denoise data shard`"
            )
        return found

    def banks(
        self, split: str, seed: Sequence[int], device: torch.device | str = "cpu"
    ) -> Iterator[SoundBank]:
        """The sounds of one shard after the other, lap after lap, each time in a new order.

        ``split`` is what the pieces must be of, as far as they say; ``seed`` decides the orders.

        Raises:
            UserError: a shard cannot be fetched, a piece is of another split, or nothing at all
                can be decoded.
        """
        random = np.random.default_rng(list(seed))
        while True:
            heard = False
            for url in random.permutation(self.urls).tolist():
                with tempfile.TemporaryDirectory(prefix="shard-") as folder:
                    bank = self._read(url, Path(folder), split, device)
                if bank is not None:
                    heard = True
                    yield bank
            if not heard:
                raise UserError(
                    f"Nothing in the {len(self.urls)} shards of {self.what} can be decoded "
                    f"({next(iter(self.damaged), self.urls[0])}): write or copy them again"
                )

    def _read(
        self, url: str, folder: Path, split: str, device: torch.device | str
    ) -> SoundBank | None:
        """What of one shard can be decoded, if anything; notes what is wrong with it."""
        from webdataset.tariterators import group_by_keys, tar_file_expander

        known = self.known.get(url)
        path = _fetch(url, folder, known) if _is_remote(url) else Path(url)
        names: dict[Recording, str] = {}
        seen, whole = 0, True
        try:
            with path.open("rb") as stream:
                for sample in group_by_keys(tar_file_expander([{"url": url, "stream": stream}])):
                    seen += 1
                    name = f"{url}: {sample['__key__']}"
                    try:
                        names[_unpacked(sample, folder / str(seen))] = name
                    except UserError:
                        raise
                    except (StopIteration, ValueError, TypeError, AttributeError, RuntimeError):
                        self.damaged[name] = None
        except UserError:
            raise
        except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error):
            whole = False
        # A tar that was cut between two members reads like a whole one.
        if not whole or (known and seen < known.pieces):
            self.damaged[f"{url} (damaged, {seen} of its pieces read)"] = None
        for told in {recording.split_hint for recording in names} - {None, split}:
            raise UserError(
                f"{url} holds recordings of the {told} split: give shards of the {split} split"
            )
        library = Library()
        library.add(list(names))
        bad = library.damaged(list(names))
        self.damaged |= {name: None for each, name in names.items() if each.path in bad}
        heard = any(entry.length for entry in library.entries.values())
        return library.bank(list(names), device=device) if heard else None


def find_shards(specs: Sequence[str], what: str) -> ShardSet:
    """The shards of speech or noise (``what``) that paths or addresses name together.

    Raises:
        UserError: one names nothing, or nothing that can be opened; or its index is damaged.
    """
    found = ShardSet(what, [url for spec in specs for url in _expand(spec, what)])
    names = (name for name in map(_NAME.fullmatch, found.urls) if name)
    for place in dict.fromkeys(f"{name[1] or ''}{name[2]}.json" for name in names):
        index = ShardIndex.read(place)
        if index is None:
            continue
        if index.what != what:
            raise UserError(
                f"{place} is an index of {index.what}: give these shards to --{index.what}"
            )
        if not index.finished:
            raise UserError(
                f"{place} lists the shards of a run that was stopped: finish it with the same "
                "`denoise data shard`"
            )
        found.known |= {_folder(place) + shard.name: shard for shard in index.shards}
        found.groups |= set(index.groups)
        found.splits.add(index.split)
    return found


def _unpacked(sample: dict[str, Any], place: Path) -> Recording:
    """The audio of a sample as webdataset groups it, by their endings, in a file.

    Raises StopIteration, ValueError and others where there is none, or none that can be read, and
    UserError where there is no room.
    """
    ending = next(name for name in sample if f".{name.rpartition('.')[2]}" in EXTENSIONS)
    path = place.with_suffix(f".{ending.rpartition('.')[2]}")
    try:
        path.write_bytes(sample[ending])
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}): free some space there") from error
    info, about = soundfile.info(path), json.loads(sample.get("json", "{}"))
    group = str(about.get("group", sample["__key__"]))
    return Recording(path, group, info.frames, info.samplerate, about.get("split"))


def _fetch(url: str, folder: Path, known: Shard | None) -> Path:
    """Copies a shard from a web server into a folder."""
    try:
        if known is None:
            with _opened(url) as answer:
                size = int(answer.headers["Content-Length"])
        else:
            size = known.bytes
    except (OSError, TypeError, ValueError) as error:
        raise UserError(
            f"{url} cannot be read ({error}): check the address of the shards"
        ) from error
    target = folder / url.rpartition("/")[2]
    Transfer([url], target, size, TransferDisplay(), sleep=_sleep).run()
    return target


def _opened(url: str) -> Any:
    return urllib.request.urlopen(url, timeout=30.0)


def _expand(spec: str, what: str) -> list[str]:
    """The paths and addresses that a specification stands for."""
    remote = _is_remote(spec)
    if spec == "-" or (not remote and re.match(r"[a-z][a-z0-9+.-]+:", spec, re.IGNORECASE)):
        raise UserError(
            f"{spec!r} is not opened: --{what} takes paths and http(s) addresses of tar files"
        )
    try:
        from braceexpand import braceexpand  # what webdataset expands addresses by

        names = list(braceexpand(spec))
    except ImportError as error:
        raise UserError(f"Shards need the webdataset library: {INSTALL}") from error
    except ValueError as error:
        raise UserError(f"{spec!r} has braces that do not match ({error})") from error
    if remote:
        return names
    found = {path: sorted(path.parent.glob(path.name)) for path in map(Path, names)}
    missing = [path for path, there in found.items() if not there]
    if missing:
        raise UserError(
            f"{missing[0]} does not exist ({len(missing)} of {len(found)} shards of {spec} are "
            "missing): check the name, or copy them again"
        )
    return [path.as_posix() for there in found.values() for path in there]


def _folder(url: str) -> str:
    """What stands before the file's name, its slash included."""
    return url[: url.rfind("/") + 1]


def _is_remote(url: str) -> bool:
    return re.match(r"https?://", url) is not None
