"""What `torch.save` has written, read without torch: plain values and nothing that could run."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any


class _Torchs:
    """Stands for what is torch's own in a pickle: a tensor, or a type of numbers."""

    def __init__(self, *parts: object) -> None:
        pass


class _PlainUnpickler(pickle.Unpickler):
    """Reads plain values and their containers; nothing that a file names is imported or called."""

    def find_class(self, module: str, name: str) -> type:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module.partition(".")[0] == "torch":
            return _Torchs
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")

    def persistent_load(self, pid: object) -> None:
        """The numbers of a tensor, which lie in another record."""


def read_archive(path: Path) -> Any:
    """What `torch.save` has written, without its tensors; None where only torch can tell.

    Any exception where it is something else.
    """
    with zipfile.ZipFile(path) as archive:
        # It is stored as it is, so that a small file cannot become a large one; and torch does not
        # look at the checksums.
        if sum(record.file_size for record in archive.infolist()) > path.stat().st_size:
            raise ValueError("compressed records")
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} is damaged")
        (record,) = (each for each in archive.namelist() if each.endswith("/data.pkl"))
        try:
            with archive.open(record) as file:
                return _PlainUnpickler(file).load()
        except Exception:  # whatever values lead to that are not plain
            return None
