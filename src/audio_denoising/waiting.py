"""How the threads of one computation wait for each other on a machine that has other work, too."""

from __future__ import annotations

import os

_ROUNDS = "3000"


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
        os.environ.setdefault("GOMP_SPINCOUNT", _ROUNDS)
