"""Where to compute: the name a user gives, turned into a torch device that is really there."""

from __future__ import annotations

import torch

from .errors import UserError


def pick_device(name: str = "auto") -> torch.device:
    """The torch device of a name; "auto" takes CUDA where there is one, then MPS, then the CPU.

    Raises:
        UserError: there is no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the only sure test that it is there and computes
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UserError(f"there is no device {name} here: choose auto, cpu or cuda") from error
    return device
