"""How the threads of one computation wait for each other on a machine that has other work, too."""

from __future__ import annotations

import os

_ROUNDS = "3000"


def wait_briefly() -> None:
    """Let threads that wait for each other go to sleep soon; call it before torch is loaded.

    The network is thousands of short products a second, and after each the threads wait for the
    last of them. GNU OpenMP lets them turn in a circle, by default for 300 000 rounds (GCC manual,
    GOMP_SPINCOUNT), about a millisecond. If another program holds the processor of the last one,
    the others burn theirs for nothing: beside a handful of busy programs two threads took over ten
    times as long as one. 3000 rounds bridge the pauses of a quiet machine about as well (8 percent
    slower on two processors there), and sleep otherwise. What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _ROUNDS)
