"""Helpers of tests in several folders."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from bids_alps.io.writing import write_nifti
from bids_alps.model import SpatialMap


def nifti_bytes(image: SpatialMap, *, dtype: Any = np.float32) -> bytes:
    """Return a gzipped NIfTI-1 file as the package writes it."""
    stream = io.BytesIO()
    write_nifti(stream, image.data, image.affine, dtype=dtype)
    return stream.getvalue()
