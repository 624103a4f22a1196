"""Sound in memory: one name for the arrays in which it goes through the package."""

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
"""float32 with full scale at 1: ``(channels, samples)``, or ``(samples,)`` where there is one."""
