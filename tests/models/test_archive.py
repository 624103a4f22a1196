"""What is looked at in a checkpoint before torch reads it: its archive, and the program inside."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_denoising.models import archive
from audio_denoising.models.archive import require_plain, require_plain_pickle

CONTENT = {
    "model": OrderedDict(weight=torch.arange(6.0).reshape(2, 3).T),
    "rng": torch.get_rng_state(),
    "half": [torch.ones(2, dtype=dtype) for dtype in (torch.half, torch.bfloat16, torch.double)],
    "counts": (torch.tensor(1), torch.tensor([True]), torch.tensor(2, dtype=torch.int32)),
    "plain": {"a": [1, 2**40, -1, 0.5, None, True, "text"], "b": ({}, (), [])},
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "a.pth"
    torch.save(CONTENT, path)
    return path


def zipped(records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """The records in an archive as `torch.save` ends it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as out:
        for name, data in records.items():
            out.writestr(name, data)
        start = out.start_dir
    data = buffer.getvalue()
    directory, count = data[start:-22], len(records)
    about = struct.pack(
        "<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), start
    )
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + len(directory), 1)
    return data[:start] + directory + about + locator + data[-22:]


def test_what_torch_saves_is_plain(saved: Path) -> None:
    require_plain(saved)


def test_torch_modules_may_be_saved_too(tmp_path: Path) -> None:
    """Their state tells its version in an attribute of the dictionary."""
    torch.save(torch.nn.Conv2d(1, 2, 3).state_dict(), tmp_path / "a.pth")
    require_plain(tmp_path / "a.pth")


def test_an_archive_of_ones_own_would_do(tmp_path: Path) -> None:
    """So that the archives below are refused for what they hold alone."""
    (tmp_path / "a.pth").write_bytes(zipped({"a/data.pkl": b"\x80\2}."}))
    require_plain(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("records", "method", "why"),
    [
        ({"a/data.pkl": b"\x80\2}."}, zipfile.ZIP_DEFLATED, "compressed"),
        ({"a/data.pkl": b"\x80\2}.", "b/data/0": b""}, zipfile.ZIP_STORED, "other records"),
        ({"a/data.pkl": b"\x80\2}.", "a/DATA.pkl": b""}, zipfile.ZIP_STORED, "other records"),
        ({"a/data.pkl": b"\x80\2}.", "a/constants.pkl": b""}, zipfile.ZIP_STORED, "other records"),
        ({"a/data.pkl": bytes(2 << 20)}, zipfile.ZIP_STORED, "a pickle of 2097152 bytes"),
        ({"a/data/0": b""}, zipfile.ZIP_STORED, "data.pkl"),
    ],
)
def test_other_archives_are_refused(
    records: dict[str, bytes], method: int, why: str, tmp_path: Path
) -> None:
    (tmp_path / "a.pth").write_bytes(zipped(records, method))
    with pytest.raises((ValueError, LookupError), match=why):
        require_plain(tmp_path / "a.pth")


def moved_directory(data: bytes) -> bytes:
    place = data.index(b"PK\6\6") + 48
    return data[:place] + (8).to_bytes(8, "little") + data[place + 8 :]


def moved_end(data: bytes) -> bytes:
    place = data.index(b"PK\6\7") + 8
    return data[:place] + (8).to_bytes(8, "little") + data[place + 8 :]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"before" + data,
        lambda data: data + b"behind",
        lambda data: data[:-2] + b"\1\0x",
        moved_directory,
        moved_end,
        lambda data: data[:50],
        lambda data: b"",
    ],
)
def test_a_directory_that_readers_may_find_elsewhere_is_refused(
    change: Callable[[bytes], bytes], saved: Path
) -> None:
    saved.write_bytes(change(saved.read_bytes()))
    with pytest.raises(ValueError, match="bytes|archive"):
        require_plain(saved)


def test_records_that_share_their_bytes_are_refused(saved: Path) -> None:
    """Every tensor of such a file would be read into memory of its own."""
    data = bytearray(saved.read_bytes())
    for entry in re.finditer(re.escape(b"PK\1\2"), bytes(data)):
        data[entry.start() + 20 : entry.start() + 28] = struct.pack("<II", *[len(data) // 3] * 2)
    saved.write_bytes(data)
    with pytest.raises(ValueError, match="records that share their bytes"):
        require_plain(saved)


def test_a_flipped_bit_is_noticed(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[data.index(torch.arange(6.0).numpy().tobytes()) + 5] ^= 1
    saved.write_bytes(data)
    with pytest.raises(zipfile.BadZipFile, match="is damaged"):
        require_plain(saved)


def test_a_file_larger_than_any_checkpoint_is_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_MOST_BYTES", saved.stat().st_size - 1)
    with pytest.raises(ValueError, match=f"{saved.stat().st_size} bytes"):
        require_plain(saved)


@pytest.mark.parametrize(
    ("opcodes", "why"),
    [
        (b"cbuiltins\nbytearray\n.", "GLOBAL builtins bytearray"),
        (b"ctorch\nTensor\n.", "GLOBAL torch Tensor"),
        (b"ctorch\nload\n.", "GLOBAL torch load"),
        (b"\x8f.", "EMPTY_SET"),
        (b"X\2\0\0\0osX\6\0\0\0system\x93.", "STACK_GLOBAL"),
        (b"ccollections\nOrderedDict\n]\x85R.", "REDUCE"),
        (b"ccollections\nOrderedDict\n)R]b.", "BUILD"),
        (b"K\1)R.", "REDUCE"),
        (b")K\1\x85R.", "REDUCE"),
        (b"}}b.", "BUILD"),
        (b"K\1Q.", "BINPERSID"),
        (b"(K\1ctorch\nFloatStorage\nK\0K\0K\0tQ.", "BINPERSID"),  # the key is no text
        (b"(K\1K\1X\1\0\0\0000K\0K\0tQ.", "BINPERSID"),
        (b"h\5.", "5"),
        (b"u.", "pop"),
        (b"R.", "pop"),
        (b"X\xff\xff\xff\xffa.", "unicode"),
        (b")" + b"q\1h\1\x86" * 30 + b".", "tuples of tuples"),
        (b"}", "pickle exhausted"),
    ],
)
def test_a_pickle_that_does_more_is_refused(opcodes: bytes, why: str) -> None:
    with pytest.raises((ValueError, LookupError), match=why):
        require_plain_pickle(b"\x80\2" + opcodes)


@pytest.mark.parametrize("content", [CONTENT, [], 1, {"a": {"b": [({},)]}}])
def test_following_a_pickle_makes_nothing(content: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as opened:
        pickled = opened.read(next(n for n in opened.namelist() if n.endswith("data.pkl")))
    monkeypatch.setattr(torch._utils, "_rebuild_tensor_v2", pytest.fail)
    require_plain_pickle(pickled)
