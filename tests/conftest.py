"""What every test shares: no screen for plots, and steady settings for hypothesis."""

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("MPLBACKEND", "Agg")

# The first example pays for warming torch up, so a deadline for a single one says nothing.
# On a build server the examples are the same every time: a red build can be repeated.
settings.register_profile(
    "project", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("ci", settings.get_profile("project"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "project")
