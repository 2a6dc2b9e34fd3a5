"""What a run reports of itself: values that do not exist, and calibration that changed nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bids_alps.model import DwiRun, DwiSeries, Gradients, SpatialMap
from bids_alps.settings import Method
from bids_alps.stages.index import Measurement
from bids_alps.stages.preprocessing import PreprocessedSeries
from bids_alps.stages.processing import describe_processing
from bids_alps.stages.tensors import TensorFit


def series(*bvals: float) -> DwiSeries:
    gradients = Gradients(bvals=np.array(bvals), bvecs=np.tile([1.0, 0, 0], (len(bvals), 1)))
    return DwiSeries(image=SpatialMap(data=np.ones((2, 2, 2, len(bvals))), affine=np.eye(4)), gradients=gradients)


def test_unknown_sides_are_not_available_in_the_summary() -> None:
    alps = {"left": float("nan"), "right": float("nan"), "bilateral": 1.5}
    result = SimpleNamespace(alps=alps, alps_unreliable={})
    shown: Any = SimpleNamespace(preset=SimpleNamespace(name="alps"), result=result, status="warn")
    assert Measurement.summary.fget(shown) == "alps left n/a right n/a bilateral 1.500 (warn)"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("bvals", "calibrated"), [((1000.0, 1000.0), False), ((1000.0, 1010.0), True)])
@pytest.mark.parametrize("rois", ["alps", "alps.sh"])
def test_calibration_is_reported_where_it_changed_b_values(
    bvals: tuple[float, float], calibrated: bool, rois: str
) -> None:
    fitted: Any = SimpleNamespace(series=series(*bvals), as_recorded=series(1000.0, 1000.0))
    changed = TensorFit.calibrated.fget(fitted)  # type: ignore[attr-defined]
    assert changed is calibrated
    nowhere = Path("nowhere")
    run = DwiRun(entities={"sub": "01"}, image=nowhere, bval=nowhere, bvec=nowhere)
    correction = PreprocessedSeries(series=series(1000.0))
    processing = describe_processing(
        run, Method(gradient_calibration=True, rois=(rois,)), correction, rois, calibrated=changed
    )
    assert processing.gradient_calibration is (calibrated and rois == "alps")
