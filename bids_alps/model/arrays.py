"""Arrays and mappings that cannot be changed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_alps.errors import ImageError

Array = NDArray[Any]


def read_only(array: Array, dtype: Any = None) -> Array:
    """Return a view of `array` that cannot be written to (a copy only where the type changes)."""
    view = np.asarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


def frozen(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a copy of a mapping that cannot be changed."""
    return MappingProxyType(dict(mapping))


def checked_affine(affine: Array) -> Array:
    """Return an affine, shape (4, 4), float64, read-only.

    Raises
    ------
    ImageError
        If it is not an invertible 4 x 4 matrix.
    """
    affine = read_only(affine, np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError("affine", f"not an invertible 4 x 4 matrix: {affine.tolist()}", "repair the image's header")
    return affine
