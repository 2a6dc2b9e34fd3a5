"""Means over the volumes of a series."""

from __future__ import annotations

import numpy as np

from bids_alps.model import Array


def mean_volume(data: Array, volumes: Array) -> Array:
    """Return the mean of some volumes of a 4-D array, shape (i, j, k), float32; zero of none.

    The series is not copied.
    """
    total = np.zeros(data.shape[:3], dtype=np.float64)
    chosen = np.flatnonzero(volumes)
    for n in chosen:
        total += data[..., n]
    return (total / max(chosen.size, 1)).astype(np.float32)
