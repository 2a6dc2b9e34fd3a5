"""How much memory a run may take, told from the header of its image."""

from __future__ import annotations

import math

from bids_alps.errors import AlpsError
from bids_alps.io.contents import read_shape
from bids_alps.model import DwiRun
from bids_alps.settings import Settings

BASE_MEGABYTES = 1200
"""Libraries, template and alignment, whatever the run."""

PAGE_MEGABYTES = 300
"""A participant's page."""

_COPIES = 8
"""How many copies of a series, in single precision, are held at most while it is corrected."""


def estimate_megabytes(run: DwiRun, settings: Settings) -> int:
    """Return what a run may take at most, MB."""
    try:
        values = math.prod(read_shape(run.image))
    except (AlpsError, OSError):
        values = 0  # the run itself will tell what is wrong with its image
    copies = 3 if run.preprocessed or settings.method.skip_preprocessing else _COPIES
    return BASE_MEGABYTES + round(copies * values * 4 / 1e6)
