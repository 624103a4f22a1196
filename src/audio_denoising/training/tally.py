"""What the steps of an epoch add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Tally:
    """Sums over the steps of an epoch so far; a skipped step counts for nothing but itself.

    Attributes:
        loss, psnr: sums over the steps that were taken. taken, skipped: how many there were.
        seconds: spent on them.
    """

    loss: float = 0.0
    psnr: float = 0.0
    taken: int = 0
    skipped: int = 0
    seconds: float = 0.0

    def add(self, loss: float, decibels: float, taken: bool) -> None:
        """Counts one step."""
        if taken:
            self.loss += loss
            self.psnr += decibels
            self.taken += 1
        else:
            self.skipped += 1

    @property
    def mean_loss(self) -> float:
        """Over the steps that were taken; 0 if there were none."""
        return self.loss / max(1, self.taken)

    @property
    def mean_psnr(self) -> float:
        """In dB, over the steps that were taken; 0 if there were none."""
        return self.psnr / max(1, self.taken)

    def as_dict(self) -> dict[str, float]:
        """For a checkpoint."""
        return asdict(self)

    @classmethod
    def restored(cls, saved: Mapping[str, Any], steps: int) -> Tally:
        """What `as_dict` gave; older checkpoints did not count the steps, all were taken."""
        return cls(**{"taken": steps, **saved})
