"""The stages of a run, as log records that any process may send and a console shows."""

from __future__ import annotations

import logging
from typing import Literal

LOG = logging.getLogger(__name__)

Stage = Literal["found", "redone", "started", "read", "corrected", "fitted", "aligned", "measured", "drawn", "written"]
"""In the order of a run; `redone` only where earlier results are replaced."""


def log_stage(run: str, stage: Stage, detail: str = "") -> None:
    """Log that a stage of a run has ended.

    Parameters
    ----------
    run
        Name of the run.
    stage
        Which one.
    detail
        More to say, such as the file that was found.
    """
    more = f" ({detail})" if detail else ""
    LOG.info("%s: %s%s", run, stage, more, extra={"run": run, "stage": stage, "detail": detail})
