"""How much memory this process holds.

The largest resident set is read from /proc/self/status (VmHWM) rather than from getrusage: on
Linux the latter starts from what the *parent* process held. Elsewhere getrusage has to do.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MIB = 2**20
_STATUS = Path("/proc/self/status")


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (largest so far) of this process in MiB."""
    if _STATUS.exists():
        match = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
        if match:
            return int(match[1]) * 1024 / MIB
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (MIB if sys.platform == "darwin" else 1024)
