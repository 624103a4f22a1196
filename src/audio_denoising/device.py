"""Where to compute, and in what: the names a user gives, checked, and turned into torch's own.

The checks need no torch, so that a wrong name is told before it loads.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from .errors import UserError

if TYPE_CHECKING:
    import torch

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}
"""What to compute in -> torch's name for it."""

_NAME = re.compile(r"auto|(cpu|cuda|mps|xpu)(:\d+)?")


def check_device_name(name: str) -> None:
    """Refuses what is no name of a device.

    Raises:
        UserError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"there is no device {name} here: choose auto, cpu, cuda or mps")


def check_precision(name: str) -> None:
    """Refuses what is no precision.

    Raises:
        UserError: it is none.
    """
    if name not in PRECISIONS:
        raise UserError(f"there is no precision {name}: choose {' or '.join(PRECISIONS)}")


def pick_device(name: str = "auto") -> torch.device:
    """The torch device of a name; "auto" takes CUDA where there is one, then MPS, then the CPU.

    Raises:
        UserError: there is no such device on this machine.
    """
    import torch

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
        raise UserError(
            f"there is no device {name} here: choose {' or '.join(['auto', *here])}"
        ) from error
    return device


def usual_device() -> AbstractContextManager[object]:
    """New tensors are made on the CPU, as they are unless a program sets another default."""
    import torch

    usual = torch.get_default_device().type == "cpu"  # the mode would only slow every call down
    return nullcontext() if usual else torch.device("cpu")
