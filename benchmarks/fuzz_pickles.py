"""Pickles that mean harm: damaged ones, ones that hold code, and ones that grow when they are read.

A checkpoint is a zip archive around a pickle, a little program for a stack machine; these go at the
program. `fuzz_checkpoints` goes at the archive, and at what the program makes.
"""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz_mutators import BOUNDARIES

_OPCODES = (b"", b"0", b"N", b")", b"]", b"}", b"R", b"b", b"\x81")
_VALUES: tuple[Any, ...] = (
    *(*BOUNDARIES, -1, -(2**31), 2**62, 2**63, 10**30, 0.5, float("nan"), float("inf"), None, True),
    *("", "0", "storage", "cuda", "data", "\ud800", "a" * 10_000, (), [], {}),
)
NAMES = (
    b"cposix\nsystem\n",
    b"cnt\nsystem\n",
    b"cos\nsystem\n",
    b"csubprocess\ngetoutput\n",
    b"cbuiltins\neval\n",
    b"cbuiltins\nexec\n",
    b"c__builtin__\neval\n",
    b"cbuiltins\ngetattr\n",
    b"ctorch\nload\n",
    b"ctorch.hub\nload\n",
    b"ctorch.serialization\nload\n",
    b"crunpy\nrun_path\n",
    b"cpickle\nloads\n",
    b"cpathlib\nPath.touch\n",
)
"""Names whose functions do whatever they are told, or lead to such."""


def text(value: str) -> bytes:
    """The opcode that puts a text on the stack."""
    encoded = value.encode("utf-8")
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def calls(name: bytes, canary: Path) -> list[bytes]:
    """Opcodes that make the canary, each in another way, if the name is looked up and called."""
    made = f"touch '{canary}'"
    if name.endswith((b"eval\n", b"exec\n")):
        made = f"open({str(canary)!r}, 'w').close()"
    module, attribute = name[1:].decode().split("\n")[:2]
    from_stack = text(module) + text(attribute) + b"\x93"  # as protocol 4 names things
    return [
        name + text(made) + b"\x85R",
        name + text(made) + b"\x85\x81",
        name + text(made) + b"\x85R0N",
        from_stack + text(made) + b"\x85R",
        b"(" + text(made) + b"i" + name[1:],
        b"(" + name + text(made) + b"o",
    ]


def code(canary: Path, random: Random) -> bytes:
    """Opcodes that would make the canary, if a name of theirs were looked up and called."""
    return random.choice(calls(random.choice(NAMES), canary))


def bomb(random: Random) -> bytes:
    """A whole pickle, small, that wants much memory or much time."""
    head, key = b"\x80\x02}q\x00", text("a")
    size = (random.choice((1, 3, 64)) << 30).to_bytes(6, "little")
    much = b"\x8a\x06" + size
    depth = random.choice((30, 60, 3000))
    body = random.choice(
        (
            key + b"cbuiltins\nbytearray\n" + much + b"\x85R",
            key + b"c__builtin__\nbytearray\n" + much + b"\x85R",
            key + b"ctorch\nTensor\n" + much + b"\x85R",
            key + b"ctorch\nFloatStorage\n" + much + b"\x85R",
            key + b"ctorch.storage\nUntypedStorage\n" + much + b"\x85R",
            # Every level holds the one before twice: 2^depth steps for whoever hashes or prints it.
            b")" + b"q\x01h\x01\x86" * depth + b"K\x01",
            key + b")" + b"q\x01h\x01\x86" * depth,
            text("version") + b")" + b"q\x01h\x01\x86" * depth,
            text("history") + b"]" + b"q\x01]h\x01ah\x01a" * depth,
            key + b"]" * depth + b"a" * (depth - 1),
            key + b")" + b"\x85" * (100 * depth),
            key + b"X\xff\xff\xff\xff" + b"a" * 50,
            key + b"\x8b\xff\xff\xff\x7f" + b"a" * 50,
            key + b"\x8f" * 100_000,
            key + b"(" * 100_000,
        )
    )
    return head + b"(" + body + b"u."


def changed(data: bytes, random: Random, canary: Path) -> bytes:
    """The pickle with one to four opcodes missing, twice, elsewhere, or with another argument."""
    operations = _operations(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(operations))
        kind = random.randrange(7)
        if kind == 0:
            del operations[place]
        elif kind == 1:
            operations.insert(random.randrange(len(operations)), operations[place])
        elif kind == 2:
            other = random.randrange(len(operations))
            swapped = operations[other], operations[place]
            operations[place], operations[other] = swapped
        elif kind == 3:
            operations[place] = random.choice(_OPCODES)
        elif kind == 4:
            operations.insert(place, code(canary, random))
        else:
            _set_argument(operations, random)
        if not operations:
            break
    return b"".join(operations)


def _operations(data: bytes) -> list[bytes]:
    places = [place or 0 for _, _, place in pickletools.genops(data)]
    return [data[start:stop] for start, stop in zip(places, [*places[1:], len(data)], strict=True)]


def _set_argument(operations: list[bytes], random: Random) -> None:
    """A number, text or truth becomes another of its kind, or of another."""
    plain = [n for n, op in enumerate(operations) if op[:1] in b"KMJGXN\x88\x89\x8a"]
    if not plain:
        return
    value = random.choice(_VALUES)
    operations[random.choice(plain)] = pickle.dumps(value, 2)[2:-1]
