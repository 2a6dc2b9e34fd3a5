"""The stages of a run, as log records that any process may send and a console shows."""

from __future__ import annotations

import logging
from typing import Literal

LOG = logging.getLogger(__name__)

Stage = Literal[
    "found", "reprocessing", "started", "read", "corrected", "fitted", "aligned", "measured", "plotted", "written"
]
"""In the order of a run; `reprocessing` only where earlier results are replaced."""


def log_stage(run: str, stage: Stage, detail: str = "") -> None:
    """Log that a stage of a run has finished.

    Parameters
    ----------
    run
        Name of the run.
    stage
        Name of the stage.
    detail
        More information, such as why a run is processed again.
    """
    more = f" ({detail})" if detail else ""
    LOG.info("%s: %s%s", run, stage, more, extra={"run": run, "stage": stage, "detail": detail})
