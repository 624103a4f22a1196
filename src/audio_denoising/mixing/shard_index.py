"""The index of a set of shards: how many recordings, of whom and of which split, and the files."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from audio_denoising.errors import UserError

SHARD = re.compile(r"(.*/)?([^/\\:]+)-\d+\.tar")  # folder, and the name of the index
TIMEOUT = 30.0  # seconds, of a server


class Shard(NamedTuple):
    """One file of a set: how many pieces of audio it holds, how long they are together."""

    name: str
    pieces: int
    seconds: float
    bytes: int


@dataclass
class ShardIndex:
    """What is in a set.

    Attributes:
        what: "speech" or "noise". split: "train", "validation" or "test".
        groups: speakers or noise sources.
        plan: a checksum of the recordings and of what goes where.
        left_out: recordings that are not in the shards, and why.
        finished: False until the last shard is written.
    """

    what: str
    split: str
    groups: list[str] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    plan: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    finished: bool = True

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.what}-{self.split}.json"

    def to_json(self) -> str:
        """As it is stored."""
        shards = [shard._asdict() for shard in self.shards]
        return json.dumps({**asdict(self), "shards": shards}, ensure_ascii=False, indent=1)

    @classmethod
    def read(cls, place: str) -> ShardIndex | None:
        """The index at a path or address; None if there is none.

        Raises:
            UserError: it cannot be fetched, or is something else.
        """
        try:
            if is_remote(place):
                with urllib.request.urlopen(place, timeout=TIMEOUT) as answer:
                    text = answer.read()
            else:
                text = Path(place).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and error.code in (404, 410):
                return None
            raise UserError(f"{place} cannot be read ({error}): check the address") from error
        try:
            content: dict[str, Any] = json.loads(text)
            # By name: sets of an earlier day hold checksums too.
            shards = [Shard(*(each[name] for name in Shard._fields)) for each in content["shards"]]
            if any(not (name := SHARD.fullmatch(each.name)) or name[1] for each in shards):
                raise ValueError("a shard is not called like one")
            return cls(**{**content, "shards": shards})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{place} is no index of shards, or it is damaged: copy it again, or remove it "
                "and give the length of an epoch by --epoch-size"
            ) from error


def is_remote(url: str) -> bool:
    """Whether it is an address, not a path."""
    return re.match(r"https?://", url) is not None
