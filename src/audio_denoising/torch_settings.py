"""torch's defaults as this package needs them, whatever the program around prefers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

_lock = threading.Lock()
_inside = 0  # threads for which the default dtype is the usual one; it is the same for all threads
_theirs: torch.dtype | None = None  # what it was before


@contextmanager
def usual_defaults() -> Iterator[None]:
    """New tensors are float32 on the CPU meanwhile, whatever the program around prefers."""
    global _inside, _theirs
    with _lock:
        if not _inside:
            _theirs = torch.get_default_dtype()
            torch.set_default_dtype(torch.float32)
        _inside += 1
    usual = torch.get_default_device().type == "cpu"  # the mode would only slow every call down
    try:
        with nullcontext() if usual else torch.device("cpu"):
            yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _theirs is not None:
                torch.set_default_dtype(_theirs)
