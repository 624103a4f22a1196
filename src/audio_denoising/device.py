"""Where to compute, by the name that a user gives, and how threads wait; wrong names are refused
before torch is loaded.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from audio_denoising.errors import UserError

if TYPE_CHECKING:
    import torch

_SPIN_ROUNDS = "3000"
_NAME = re.compile(r"auto|(cpu|cuda|mps|xpu)(:\d+)?")


def wait_briefly() -> None:
    """Let threads that wait for each other go to sleep soon; call it before torch is loaded.

    The network is thousands of short products a second, and after each the threads wait for the
    last of them. GNU OpenMP lets them turn in a circle meanwhile, by default for 300 000 rounds
    (its manual, GOMP_SPINCOUNT). If another program holds the processor of the last one, the others
    burn theirs for nothing: on two busy processors two threads took six to fifty times as long as
    one. With 3000 rounds it was at most twice as long. The price is paid on quiet processors: as
    fast as by default at best, but where the kernel puts both threads on one processor, which it
    may do once they sleep, no faster than one. What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_ROUNDS)


def check_device_name(name: object) -> None:
    """Refuses what is no device or name of one, by a UserError."""
    if not _NAME.fullmatch(str(name)):
        raise UserError(f"there is no device {name} here: choose auto, cpu, cuda or mps")


def refuse_absent(name: object) -> None:
    """Refuses a device that there cannot be here, as far as that is known before torch is loaded.

    Raises:
        UserError: it is Apple's on another system, or a GPU for a torch that is built without.
    """
    kind = str(name).partition(":")[0]
    if kind == "mps" and sys.platform != "darwin":
        raise _absent(name, ["cpu"])
    if kind in ("cuda", "xpu"):
        from importlib.metadata import PackageNotFoundError, version

        with suppress(PackageNotFoundError):  # of a torch that was put there by hand
            if "+cpu" in version("torch"):  # what it calls such a build; others may lack a GPU too
                raise _absent(name, ["cpu"])


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """The torch device of a name; "auto" takes CUDA where there is one, then MPS, then the CPU.

    UserError where there is no such device on this machine.
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
        raise _absent(name, here) from error
    return device


def _absent(name: object, here: list[str]) -> UserError:
    """The error for a device that there is not, where there are others."""
    return UserError(f"there is no device {name} here: choose {' or '.join(['auto', *here])}")
