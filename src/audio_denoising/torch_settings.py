"""torch as this package needs it: on which device, and with which defaults."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from audio_denoising.device import absent, check_device_name


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """The torch device of a name; "auto" takes CUDA where there is one, then MPS, then the CPU.

    UserError where there is no such device on this machine.
    """
    check_device_name(name)
    here = ["cpu"]
    if torch.backends.mps.is_available():
        here.append("mps")
    if torch.cuda.is_available():
        here.append("cuda")
    if name == "auto":
        return torch.device(here[-1])
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the only sure test that it is there and computes
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise absent(name, here) from error
    return device


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
