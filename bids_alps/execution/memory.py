"""Peak memory of a run, estimated from the header of its image."""

from __future__ import annotations

import math

from bids_alps.errors import AlpsError
from bids_alps.io.images import read_header
from bids_alps.model import DwiRun

BASE_MEGABYTES = 1400
"""Libraries, template and registration, independent of the run: 1330 MB measured."""

PAGE_MEGABYTES = 300
"""The report of a participant."""

MAPS_MEGABYTES = 60
"""Scalar maps of one session of several, in double and single precision."""

_COPIES = 3
"""Maximum number of copies of a series, in single precision: two measured."""


def estimate_megabytes(run: DwiRun) -> int:
    """Return the estimated peak memory of a run, MB."""
    try:
        values = math.prod(read_header(run.image).shape)
    except (AlpsError, OSError):
        values = 0  # the run itself will report the error in its image
    return BASE_MEGABYTES + round(_COPIES * values * 4 / 1e6)
