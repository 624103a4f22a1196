"""What every test shares: no screen for plots, and steady settings for hypothesis."""

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("MPLBACKEND", "Agg")

# The first example pays for warming torch up, so a deadline for a single one says nothing.
# On a build server the examples are the same every time: a red build can be repeated.
settings.register_profile(
    "project", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("ci", settings.get_profile("project"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "project")


@pytest.fixture(autouse=True)
def keep_denormals() -> Iterator[None]:
    """Training flushes denormal numbers in its process; hypothesis, which draws them, must not."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
