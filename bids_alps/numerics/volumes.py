"""Mean images of a series."""

from __future__ import annotations

import numpy as np

from bids_alps.model import Array


def mean_volume(data: Array, volumes: Array) -> Array:
    """Return the mean of selected volumes of a 4-D array, shape (i, j, k), float32; zero if there are none.

    The series is not copied.
    """
    total = np.zeros(data.shape[:3], dtype=np.float64)
    indices = np.flatnonzero(volumes)
    for n in indices:
        total += data[..., n]
    return (total / max(indices.size, 1)).astype(np.float32)
