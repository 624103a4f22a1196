"""Checkpoints that mean harm: the archive, the pickle inside it, or the content is not what it was.

The checkpoint they start from is a valid one of a few KB: each of its tensors is one number, told
to be as large as the network wants it.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import torch

from audio_denoising.models import VERSIONS, build
from audio_denoising.models.checkpoint import describe
from benchmarks import fuzz_pickles
from benchmarks.fuzz_mutators import mutated

_BOMB_BYTES = 5 << 29  # 2.5 GiB, from 2.5 MB


@cache
def valid(version: str = "v4") -> bytes:
    """A small checkpoint that is accepted."""
    return _saved(_content(version))


def hostile(random: Random, canary: Path) -> bytes:
    """A checkpoint that may do harm, or is only damaged."""
    way = random.choice(_WAYS)
    return way(random, canary)


def archive(records: dict[str, bytes]) -> bytes:
    """The records in an archive of the form that torch writes, with right checksums."""
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, data in records.items():
        writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return buffer.getvalue()


def compression_bomb(size: int = _BOMB_BYTES) -> bytes:
    """An archive whose pickle unpacks to so many bytes."""
    block = 1 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = packed * (size // block) + packer.flush()
    name = b"archive/data.pkl"
    sizes = (0, len(packed), size, len(name), 0)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, *sizes) + name + packed
    about = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, *sizes, 0, 0, 0, 0, 0) + name
    return local + about + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(about), len(local), 0)


def _content(version: str) -> dict[str, Any]:
    shapes = _shapes(version)
    one = torch.full((), 0.01)
    row = {"epoch": 1, "step": 2, "train_loss": 0.5, "validation_loss": 0.4}
    options = {"version": version, "size": "small", "start_from": "v4-small.pth", "seed": 1}
    return {
        **describe(version, "small"),
        "model": {name: one.expand(shape) for name, shape in shapes.items()},
        "options": options,
        "position": {"epoch": 1, "batch": 0, "step": 2},
        "history": [row],
        "earlier": [{"options": options, "epochs": [row]}],
    }


@cache
def _shapes(version: str) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in build(version, "small").state_dict().items()}


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _any_valid(random: Random) -> bytes:
    return valid(random.choice(list(VERSIONS)))


def _records(data: bytes) -> dict[str, bytes]:
    """The records without those that torch's writer adds by itself."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        named = {i.filename.split("/", 1)[1]: opened.read(i) for i in opened.infolist()}
    return {
        name: data
        for name, data in named.items()
        if name not in ("version", ".data/serialization_id")
    }


def _damaged_file(random: Random, canary: Path) -> bytes:
    return mutated(_any_valid(random), random, [valid(name) for name in VERSIONS])


def _damaged_directory(random: Random, canary: Path) -> bytes:
    """The zip directory at the end alone."""
    data = _any_valid(random)
    start = data.index(b"PK\1\2")
    return data[:start] + mutated(data[start:], random, [data[start:]])


def _damaged_record(random: Random, canary: Path) -> bytes:
    records = _records(_any_valid(random))
    name = random.choice(list(records))
    records[name] = mutated(records[name], random, list(records.values()))
    if random.random() < 0.2:
        del records[random.choice(list(records))]
    return archive(records)


def _with_pickle(change: Callable[[bytes, Random, Path], bytes]) -> Way:
    def make(random: Random, canary: Path) -> bytes:
        records = _records(_any_valid(random))
        records["data.pkl"] = change(records["data.pkl"], random, canary)
        if random.random() < 0.03:
            return records["data.pkl"]  # the pickle alone, as the oldest torch wrote it
        return archive(records)

    return make


def _changed_content(random: Random, canary: Path) -> bytes:
    """A right pickle of wrong things."""
    content: Any = _content(random.choice(list(VERSIONS)))
    for holder, key in random.sample(_places(content), random.choice((1, 1, 2, 4))):
        if random.random() < 0.2 and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = random.choice(_STRANGE)()
    if random.random() < 0.03:
        content = random.choice(_STRANGE)()
    return _saved(content)


def _compressed(random: Random, canary: Path) -> bytes:
    """A record that unpacks to more than it tells, or to far more than it is."""
    if random.random() < 0.1:
        return compression_bomb()
    records = _records(_any_valid(random))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in records.items():
            entry = zipfile.ZipInfo(f"archive/{name}")  # of 1980: the clock would make it another
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, data + bytes(random.choice((0, 1000, 1 << 20))))
    return buffer.getvalue()


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every holder and key in a tree of dictionaries and lists; of the many weights three."""
    found: list[tuple[Any, Any]] = []
    keys = list(content) if isinstance(content, dict) else range(len(content))
    for key in list(keys)[: 3 if len(content) > 20 else None]:
        found.append((content, key))
        if isinstance(content[key], dict | list):
            found += _places(content[key])
    return found


def _nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def _laughs() -> list[Any]:
    """A list that would be 2^40 items long, were it written out."""
    inner: list[Any] = ["ha"]
    for _ in range(40):
        inner = [inner, inner]
    return inner


_PLAIN: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**70, 0.5, math.nan, math.inf),
    *("", "v4", "small", "\ud800", "9" * 5000, "a" * 100_000),
    *([], {}, (), [[]], [None], {"step": "x"}),
)
_STRANGE: tuple[Callable[[], Any], ...] = (
    *(partial(deepcopy, value) for value in _PLAIN),
    lambda: [{"step": 1, "epochs": []}],
    lambda: [{"epochs": [{"step": None}]}],
    lambda: {1: 2, None: 3},
    lambda: _nested(200),
    _laughs,
    lambda: torch.zeros(3),
    lambda: torch.full((16,), math.nan),
    lambda: torch.zeros(()).expand(1 << 40),
    lambda: torch.zeros(()).expand(16, 1, 3, 3),
    lambda: torch.zeros(16, 1, 3, 3, dtype=torch.complex64),
    lambda: torch.zeros(16, 1, 3, 3, dtype=torch.int64),
    lambda: torch.zeros(16, 1, 3, 3, dtype=torch.bool),
    lambda: torch.zeros(16, 1, 3, 3).to_sparse(),
    lambda: torch.zeros(16, 1, 3, 3, device="meta"),
    lambda: torch.quantize_per_tensor(torch.zeros(16, 1, 3, 3), 0.1, 0, torch.qint8),
    lambda: torch.nn.Parameter(torch.zeros(16, 1, 3, 3)),
    lambda: torch.nn.Parameter(torch.zeros(16)),
)
Way = Callable[[Random, Path], bytes]
_WAYS: tuple[Way, ...] = (
    _damaged_file,
    _damaged_directory,
    _damaged_record,
    _with_pickle(lambda data, random, canary: mutated(data, random, [data])),
    _with_pickle(fuzz_pickles.changed),
    _with_pickle(fuzz_pickles.changed),
    _with_pickle(lambda data, random, canary: fuzz_pickles.bomb(random)),
    _with_pickle(
        lambda data, random, canary: b"\x80\x02}(" + fuzz_pickles.code(canary, random) + b"Nu."
    ),
    _changed_content,
    _changed_content,
    _changed_content,
    _compressed,
)
