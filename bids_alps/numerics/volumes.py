"""Mean images of a series, and its voxels in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bids_alps.model import Array


def mean_volume(data: Array, volumes: Array) -> Array:
    """Return the mean of selected volumes of a 4-D array, shape (i, j, k), float32; zero if there are none.

    The series is not copied.
    """
    total = np.zeros_like(data[..., 0], dtype=np.float64)  # in the order of the series, which is faster
    indices = np.flatnonzero(volumes)
    for n in indices:
        total += data[..., n]
    return (total / max(indices.size, 1)).astype(np.float32)


def voxel_blocks(mask: Array, data: Array, voxels: int) -> Iterator[tuple[Array, ...]]:
    """Yield the indices (i, j, k) of the voxels of a mask in blocks, in the order of the memory of a 4-D array.

    Reading the voxels of a NIfTI file, whose first axis is the fastest, takes five times as long in NumPy's order.
    """
    first_is_fastest = data.strides[0] < data.strides[2]
    inside = np.argwhere(mask.T)[:, ::-1] if first_is_fastest else np.argwhere(mask)
    for start in range(0, len(inside), voxels):
        yield tuple(inside[start : start + voxels].T)
