"""Learning-rate schedules: a factor for the learning rate, from the step number alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

SCHEDULES = ("constant", "linear-end", "cosine")
_END = 0.25  # of all steps


@dataclass(frozen=True)
class Schedule:
    """A linear warm-up, then a constant rate, one that ends, or half a cosine down to `floor`.

    Attributes:
        kind: "constant"; "linear-end", constant and in the last quarter straight down to 0; or
            "cosine" (Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5, no restart).
        total_steps: the step at which the rate has come down.
        warmup_steps: steps over which the factor rises linearly from near 0 to 1.
        floor: the factor at the end of the cosine.
    """

    kind: str = "constant"
    total_steps: int = 1
    warmup_steps: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.kind!r}: use {', '.join(SCHEDULES)}")

    def factor(self, step: int) -> float:
        """The factor for step 0, 1, 2, ..."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.kind == "constant":
            return 1.0
        if self.kind == "linear-end":
            return max(0.0, min(1.0, (self.total_steps - step) / (_END * self.total_steps)))
        span = max(1, self.total_steps - self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / span)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))
