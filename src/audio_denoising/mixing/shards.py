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

import io
import json
import re
import tarfile
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

from audio_denoising.corpora.corpus import EXTENSIONS, TOLERANCE_SECONDS, Waveform
from audio_denoising.corpora.transfer import Transfer, TransferDisplay
from audio_denoising.dsp.constants import SAMPLE_RATE
from audio_denoising.errors import UserError
from audio_denoising.mixing.shard_index import SHARD, TIMEOUT, Shard, ShardIndex, is_remote

INSTALL = "pip install webdataset"
LONGEST = 60.0  # seconds of a recording that count when noise is drawn, and of a piece

_sleep = time.sleep  # before a broken connection is tried again
_UNREADABLE = (StopIteration, ValueError, TypeError, AttributeError, RuntimeError, OSError)


class Piece(NamedTuple):
    """A piece of audio, float32 ``(L,)`` at 16 kHz, and how many seconds it counts when drawn."""

    sound: Waveform
    seconds: float


@dataclass
class ShardSet:
    """The shards to read, and the indices that list them, by folder and name, where there are any.

    ``damaged`` are the pieces and shards that could not be read so far.
    """

    what: str
    urls: list[str]
    indices: dict[str, ShardIndex]
    damaged: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known = {
            f"{_folder(place)}{shard.name}": shard
            for place, index in self.indices.items()
            for shard in index.shards
        }

    @property
    def pieces(self) -> int | None:
        """All pieces together; None where not all are known."""
        known = [self.known[url].pieces for url in self.urls if url in self.known]
        return sum(known) if len(known) == len(self.urls) else None

    @property
    def groups(self) -> set[str]:
        """The speakers or noise sources that the indices name."""
        return {group for index in self.indices.values() for group in index.groups}

    def validation(self) -> ShardSet:
        """The validation split beside these shards of the train split, as its index lists it.

        Raises:
            UserError: there is none, these are of another split, or both share a speaker or a
                noise source, as far as indices tell.
        """
        for other in {index.split for index in self.indices.values()} - {"train"}:
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
        shared = self.groups & found.groups
        if shared:
            raise UserError(
                f"{min(shared)} and {len(shared) - 1} more {self.what} groups are in the shards of "
                "both splits: write both with one call of `denoise data shard`"
            )
        return found

    def pools(self, split: str, size: int, seed: Sequence[int]) -> Iterator[list[Piece]]:
        """All pieces, up to ``size`` at a time, lap after lap, the shards each time in a new order.

        Args:
            split: what the pieces must be of, as far as they say.
            seed: of the orders.

        Raises:
            UserError: a shard cannot be fetched, a piece is of another split, or nothing at all
                can be decoded.
        """
        random = np.random.default_rng(list(seed))
        while True:
            order = random.permutation(len(self.urls))
            lap = (piece for number in order for piece in self._read(self.urls[number], split))
            pool = list(islice(lap, size))
            if not pool:
                raise UserError(
                    f"Nothing in the {len(self.urls)} shards of {self.what} can be decoded "
                    f"({next(iter(self.damaged), self.urls[0])}): write or copy them again"
                )
            while pool:
                yield pool
                pool = list(islice(lap, size))

    def _read(self, url: str, split: str) -> Iterator[Piece]:
        """The pieces of one shard; notes what is wrong with it."""
        from webdataset.tariterators import group_by_keys, tar_file_expander

        seen, whole = 0, True
        try:
            with _fetched(url, self.known.get(url)) as path, path.open("rb") as stream:
                for sample in group_by_keys(tar_file_expander([{"url": url, "stream": stream}])):
                    seen += 1
                    try:
                        piece, told = _decode(sample)
                    except _UNREADABLE:
                        self.damaged[f"{url}: {sample['__key__']}"] = None
                        continue
                    if told not in (None, split):
                        raise UserError(
                            f"{url} holds recordings of the {told} split: give shards of the "
                            f"{split} split"
                        )
                    yield piece
        except UserError:
            raise
        except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error):
            whole = False
        # A tar that was cut between two members reads like a whole one.
        if not whole or (url in self.known and seen < self.known[url].pieces):
            self.damaged[f"{url} (damaged, {seen} of its pieces read)"] = None


def find_shards(specs: str | Sequence[str], what: str) -> ShardSet:
    """The shards that one or several specifications name together.

    Args:
        specs: paths or addresses, with braces or (paths only) ``*``.
        what: "speech" or "noise".

    Raises:
        UserError: one names nothing, or nothing that can be opened; or its index is damaged.
    """
    specs = [specs] if isinstance(specs, str) else specs
    urls = [url for spec in specs for url in _expand(spec, what)]
    names = (name for name in map(SHARD.fullmatch, urls) if name)
    places = dict.fromkeys(f"{name[1] or ''}{name[2]}.json" for name in names)
    found = {place: index for place in places if (index := ShardIndex.read(place))}
    for place, index in found.items():
        if index.what != what:
            raise UserError(
                f"{place} is an index of {index.what}: give these shards to --{index.what}"
            )
        if not index.finished:
            raise UserError(
                f"{place} lists the shards of a run that was stopped: finish it with the same "
                "`denoise data shard`"
            )
    return ShardSet(what, urls, found)


def _decode(sample: dict[str, Any]) -> tuple[Piece, str | None]:
    """The audio of a sample as webdataset groups it, by their endings, and its split if it says.

    Raises ValueError and others where there is none, or it cannot be decoded.
    """
    audio = next(v for k, v in sample.items() if f".{k.rpartition('.')[2]}" in EXTENSIONS)
    with soundfile.SoundFile(io.BytesIO(audio)) as file:
        frames = file.read(dtype="float32", always_2d=True)
        rate = file.samplerate
        if len(frames) < file.frames - TOLERANCE_SECONDS * rate:
            raise ValueError("it ends early")
    about = json.loads(sample.get("json", "{}"))
    mono = np.asarray(soxr.resample(frames.mean(axis=1), rate, SAMPLE_RATE), np.float32)
    if not len(mono) or not np.isfinite(mono).all():
        raise ValueError("no samples, or such that are not numbers")
    whole = max(1, int(about.get("recording_samples", len(mono)))) / SAMPLE_RATE
    return Piece(mono, len(mono) / SAMPLE_RATE * min(1.0, LONGEST / whole)), about.get("split")


@contextmanager
def _fetched(url: str, known: Shard | None) -> Iterator[Path]:
    """The file at ``url``; from a web server it is fetched first, and removed after use."""
    if not is_remote(url):
        yield Path(url)
        return
    with tempfile.TemporaryDirectory(prefix="shard-") as folder:
        size = known.bytes if known else _size(url)
        target = Path(folder) / url.rpartition("/")[2]
        Transfer([url], target, size, TransferDisplay(), sleep=_sleep).run()
        yield target


def _size(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, TypeError, ValueError) as error:
        raise UserError(
            f"{url} cannot be read ({error}): check the address of the shards"
        ) from error


def _expand(spec: str, what: str) -> list[str]:
    """The paths and addresses that a specification stands for."""
    remote = is_remote(spec)
    if spec == "-" or (not remote and re.match(r"[a-z][a-z0-9+.-]+:", spec, re.IGNORECASE)):
        raise UserError(
            f"{spec!r} is not opened: --{what} takes paths and http(s) addresses of tar files"
        )
    if not remote and Path(spec).exists():
        return [Path(spec).as_posix()]
    try:
        from braceexpand import braceexpand  # what webdataset expands addresses by

        urls = list(braceexpand(spec))
    except ImportError as error:
        raise UserError(f"Reading shards needs the webdataset library: {INSTALL}") from error
    except ValueError as error:
        raise UserError(f"{spec!r} has braces that do not match ({error})") from error
    if remote:
        return urls
    paths: list[Path] = []
    for path in map(Path, urls):
        paths += sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise UserError(
            f"{missing[0] if missing else spec} does not exist ({len(missing)} of {len(paths)} "
            f"shards of {spec} are missing): check the name, or copy them again"
        )
    return [path.as_posix() for path in paths]


def _folder(url: str) -> str:
    """What stands before the file's name, its slash included."""
    return url[: url.rfind("/") + 1]
