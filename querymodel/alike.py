"""When two computations of the same vectors count as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Sums in another order differ by less, of the greatest component; so do those of float16.
TOLERANCE = 2e-3
TINY = 1e-6

Floats = NDArray[np.float32]


def alike(one: Floats, other: Floats) -> bool:
    """Whether two arrays of one shape differ by rounding only."""
    greatest = float(np.abs(one).max(initial=0.0))
    return one.shape == other.shape and bool(np.abs(one - other).max(initial=0.0) <= TOLERANCE * greatest + TINY)
