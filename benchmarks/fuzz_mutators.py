"""Small damages to the bytes of a file, drawn at random: what a fuzzer does to a good one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

Mutator = Callable[[bytearray, Random, Sequence[bytes]], None]
"""Changes the data in place; the other good files are there to take pieces from."""

BOUNDARIES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_MOST_BYTES = 1 << 17
_HEADER = 256
_TAG = re.compile(rb"[A-Za-z0-9 \xa9]{4}")


def mutated(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """The data with one to five damages."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 5))):
        random.choice(MUTATORS)(changed, random, others)
        if not changed:
            break
    return bytes(changed[:_MOST_BYTES])


def flip_bits(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """Up to eight bits, anywhere."""
    for _ in range(random.randint(1, 8)):
        data[_somewhere(data, random)] ^= 1 << random.randrange(8)


def set_bytes(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """Up to sixteen bytes in a row."""
    start = _somewhere(data, random)
    for place in range(start, min(len(data), start + random.randint(1, 16))):
        data[place] = random.choice((0, 0x7F, 0x80, 0xFF, random.randrange(256)))


def set_field(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """A number of two, three, four or eight bytes in the header becomes one that nobody expects."""
    _set_number(data, random, random.randrange(min(len(data), _HEADER)))


def set_field_at_tag(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """The same for a number beside four letters: sizes of RIFF chunks, of MP4 boxes ..."""
    tags = [match.start() for match in _TAG.finditer(data)]
    if tags:
        start = random.choice(tags) + random.choice((-4, 4, 8, 12, 16, 20, 24))
        _set_number(data, random, min(max(0, start), len(data) - 1))


def swap_tag(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """Four letters become four others of the file."""
    tags = [match.start() for match in _TAG.finditer(data)]
    if tags:
        to, source = random.choice(tags), random.choice(tags)
        data[to : to + 4] = data[source : source + 4]


def truncate(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """The end is missing."""
    del data[_somewhere(data, random) :]


def delete(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """A block is missing."""
    start, stop = _block(data, random)
    del data[start:stop]


def duplicate(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """A block comes again, up to eight times, there or elsewhere."""
    start, stop = _block(data, random)
    again = bytes(data[start:stop]) * random.choice((1, 1, 2, 8))
    place = random.choice((stop, _somewhere(data, random)))
    data[place:place] = again


def insert(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """A block of noise or of one value gets between."""
    size = random.choice((1, 2, 4, 16, 256, 4096))
    block = random.choice((bytes(size), b"\xff" * size, random.randbytes(size)))
    place = _somewhere(data, random)
    data[place:place] = block


def splice(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """It goes on as another file from some place, or a block of that gets into it."""
    other = random.choice(others)
    start, stop = _block(other, random)
    place = _somewhere(data, random)
    if random.random() < 0.5:
        data[place:] = other[start:]
    else:
        data[place : place + stop - start] = other[start:stop]


MUTATORS: tuple[Mutator, ...] = (
    flip_bits,
    set_bytes,
    set_field,
    set_field,
    set_field_at_tag,
    set_field_at_tag,
    swap_tag,
    truncate,
    delete,
    duplicate,
    insert,
    splice,
)


def _somewhere(data: bytes | bytearray, random: Random) -> int:
    """A place, often in the header: it decides most."""
    length = min(len(data), _HEADER) if random.random() < 0.4 else len(data)
    return random.randrange(max(1, length))


def _block(data: bytes | bytearray, random: Random) -> tuple[int, int]:
    start = _somewhere(data, random)
    return start, min(len(data), start + random.choice((1, 4, 8, 32, 128, 1024, 8192)))


def _set_number(data: bytearray, random: Random, start: int) -> None:
    size = random.choice((2, 3, 4, 4, 4, 8))
    number = random.choice((*BOUNDARIES, random.getrandbits(8 * size)))
    number &= (1 << 8 * size) - 1
    data[start : start + size] = number.to_bytes(size, random.choice(("little", "big")))
