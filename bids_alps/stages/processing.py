"""Columns of the index table that describe the processing."""

from __future__ import annotations

from collections.abc import Mapping

from bids_alps import __version__
from bids_alps.io.presets import conventions_of
from bids_alps.io.results import Processing
from bids_alps.io.tables import read_table
from bids_alps.model import DwiRun
from bids_alps.provenance import settings_hash
from bids_alps.settings import Method
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.preprocessing import PreprocessedSeries


def describe_processing(
    run: DwiRun, method: Method, correction: PreprocessedSeries, rois: str, *, calibrated: bool
) -> Processing:
    """Return the processing of a preset; `rois` is its name in the settings, `calibrated` whether b-values changed."""
    anatomical = conventions_of(rois) == "anatomical"
    return Processing(
        settings_hash=settings_hash(method, rois),
        pose_correction=method.pose_correction and anatomical,
        preprocessed=run.preprocessed,
        motion_corrected=None if run.preprocessed else correction.motion_corrected,
        distortion_corrected=None if run.preprocessed else correction.distortion_corrected,
        distortion_method=None if run.preprocessed else correction.distortion_method,
        gradient_calibration=calibrated and anatomical,
        version=__version__,
    )


def read_processing(outputs: RunOutputs) -> Mapping[str, Processing]:
    """Return the processing of each preset, from the index table of a run."""
    table = read_table(outputs.path("alps")).drop_duplicates("roi_preset").set_index("roi_preset").astype(object)
    rows = table.where(table.notna(), None)[list(Processing.__slots__)].to_dict("index")
    return {
        str(preset): Processing(**{str(name): value for name, value in row.items()}) for preset, row in rows.items()
    }
