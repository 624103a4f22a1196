"""What every loader of training data needs of its workers: obedience, and clean last words."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from audio_denoising.errors import UserError


def leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches the whole process group; the parent decides when its workers stop."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)


def deliver(loader: DataLoader[Any]) -> Iterator[Any]:
    """What ``loader`` yields; a UserError keeps its sentence and no worker outlives it."""
    try:
        yield from loader
        return
    except UserError as error:
        # Out of a worker the message comes wrapped in its traceback; the sentence is the last line.
        sentence = str(error).strip().splitlines()[-1]
        # A kept traceback, or an error chained to it, would keep the workers. They are deaf to
        # SIGTERM, and the interpreter would wait for them at its end, for ever.
        error.__traceback__ = None
    raise UserError(sentence.split("UserError: ", 1)[-1])
