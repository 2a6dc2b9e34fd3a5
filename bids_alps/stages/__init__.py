"""The stages of one run: each reads files, calls numerics, and writes results."""

from bids_alps.stages.index import Measurement
from bids_alps.stages.run import RunResult, run_stages

__all__ = ["Measurement", "RunResult", "run_stages"]
