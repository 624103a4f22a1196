"""A checkpoint file seen from outside, before torch reads it: nothing in it may run or grow.

`torch.load(weights_only=True)` runs no code, but it believes what a file says of itself: a record
that unpacks to gigabytes, a `bytearray` of as many, a key that takes 2^60 steps to hash. So the zip
archive must have the form that `torch.save` gives it, and its pickle, a program for a stack
machine, may do only what that of a checkpoint does. Then memory is bounded by the file's size.
"""

from __future__ import annotations

import pickletools
import re
import struct
import zipfile
from pathlib import Path
from typing import NamedTuple

_MOST_BYTES = 1 << 33  # fifteen times the large network, averaged, with Adam's moments
_MOST_PICKLE_BYTES = 1 << 20  # fifty times that of a long training; read, it grows manyfold
_MOST_STEPS = 10_000_000

# The end of an archive as torch writes it: a directory's end with 64-bit numbers, where that is,
# and the older form of the same. Readers differ in where they look, unless all stand just there.
_END = struct.Struct("<4s4x16x8x8xQQ 4s4xQ4x 4s16xH")
_RECORD = re.compile(r"([^/\0]+)/(data\.pkl|data/[0-9]+|byteorder|version|\.[a-z_/]+)", re.ASCII)

_STORAGES = {
    f"torch {kind}Storage"
    for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Byte", "Bool")
}
_MAPPING = "collections OrderedDict"
_GLOBALS = {_MAPPING, "torch._utils _rebuild_tensor_v2"} | _STORAGES
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_CONSTANTS = ("NONE", "NEWTRUE", "NEWFALSE", "BINUNICODE", *_NUMBERS)
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Item(NamedTuple):
    """What lies on the stack: a constant, a global's name or a tuple; else an opcode's name."""

    value: object
    steps: int = 1  # it takes to walk through it, as hashing does


def require_plain(path: Path, *, just_written: bool = False) -> None:
    """Refuses what `torch.save` does not write, and what has changed since it wrote it.

    Args:
        just_written: leave out the checksums of what this program wrote a moment ago, and only see
            that it keeps the bounds, so that it will be read again.

    Raises:
        ValueError, zipfile.BadZipFile: it is another kind of file, a hostile one, or a bit of it is
            not what it was.
        LookupError: its pickle is damaged.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if not _END.size < size <= _MOST_BYTES:
        raise ValueError(f"{size} bytes")
    with path.open("rb") as file:
        _require_one_end(file.seek(-_END.size, 2), file.read())
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            names = [_RECORD.fullmatch(record.orig_filename) for record in records]
            folders = {name and name[1] for name in names}
            if len(folders) != 1 or None in folders or len(set(archive.namelist())) != len(names):
                raise ValueError("other records than those of a checkpoint")
            if any(r.compress_type or r.compress_size != r.file_size for r in records):
                raise ValueError("compressed records")
            if sum(record.file_size for record in records) > size:
                raise ValueError("records that share their bytes")
            (folder,) = folders
            pickled = archive.getinfo(f"{folder}/data.pkl")
            if pickled.file_size > _MOST_PICKLE_BYTES:
                raise ValueError(f"a pickle of {pickled.file_size} bytes")
            require_plain_pickle(archive.read(pickled))
            if just_written:
                return
            damaged = archive.testzip()  # torch.save writes checksums, torch.load ignores them
            if damaged is not None:
                raise zipfile.BadZipFile(f"{damaged} is damaged")


def require_plain_pickle(data: bytes) -> None:
    """Refuses a pickle that does anything but to put together plain values and tensors.

    The opcodes are followed on a stack of their own, without making what they stand for.

    Raises:
        ValueError: it names something else, calls what is no constructor of a tensor, or would take
            long to go through.
        LookupError: it takes from the stack or the memo what is not there.
    """
    stack: list[_Item] = []
    marks: list[int] = []
    memo: dict[int | None, _Item] = {}
    steps = 0
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _CONSTANTS:
            stack.append(_Item(argument))
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append(_Item(name))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
            steps += stack[-1].steps
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE" or name in _TUPLES:
            start = marks.pop() if name == "TUPLE" else len(stack) - _TUPLES[name]
            parts = stack[start:]
            value = tuple(part.value for part in parts)
            stack[start:] = [_Item(value, 1 + sum(part.steps for part in parts))]
            steps += stack[-1].steps
        elif name in ("APPENDS", "SETITEMS"):
            del stack[marks.pop() :]
        elif name in ("APPEND", "SETITEM"):
            del stack[-1 if name == "APPEND" else -2 :]
        elif name == "GLOBAL" and argument in _GLOBALS:
            stack.append(_Item(argument))
        elif name in ("REDUCE", "BUILD", "BINPERSID"):
            _require_known(name, stack)
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"{name} {argument} in its pickle")
        if steps > _MOST_STEPS:
            raise ValueError("tuples of tuples of tuples")


def _require_one_end(start: int, end: bytes) -> None:
    """The directory ends where the file does, and there is no second one."""
    signature, size, offset, locator, place, old, comment = _END.unpack(end)
    if (signature, locator, old) != (b"PK\6\6", b"PK\6\7", b"PK\5\6") or comment:
        raise ValueError("not the end of an archive of torch")
    if place != start or offset + size != start:
        raise ValueError("a directory that is not where the archive ends")


def _require_known(name: str, stack: list[_Item]) -> None:
    """One of the three opcodes that call something; takes its arguments off the stack."""
    argument = stack.pop() if name != "BINPERSID" else stack[-1]
    target = stack[-1].value
    if name == "REDUCE":
        # An OrderedDict of given pairs would hash them again and again.
        known = target == _MAPPING and argument.value == ()
        known = known or target == "torch._utils _rebuild_tensor_v2"
        stack[-1] = _Item(target if target == _MAPPING else name)
    elif name == "BUILD":
        known = target == _MAPPING and argument.value == "EMPTY_DICT"
    else:
        kind, key = target[1:3] if isinstance(target, tuple) and len(target) == 5 else ("", "")
        known = kind in _STORAGES and isinstance(key, str) and key.isascii() and key.isdigit()
        stack[-1] = _Item(name)
    if not known:
        raise ValueError(f"{name} of something else than a tensor in its pickle")
