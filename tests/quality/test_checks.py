from __future__ import annotations

import math

import numpy as np
import pytest

from bids_alps.errors import UsageError
from bids_alps.model import SIDES, AlpsResult, Pose, RoiDiffusivity
from bids_alps.quality.checks import apply_thresholds, check_index, evaluate, parse_thresholds
from bids_alps.quality.thresholds import THRESHOLDS

GOOD = {
    "v1_angle": 8.0,
    "v1_dispersion": 9.0,
    "fa": 0.5,
    "lambda2_lambda3": 1.3,
    "off_tract_fraction": 0.0,
    "other_tissue": 0.0,
    "n_voxels": 9.0,
    "coverage": 1.0,
}


ALONG = {
    "projection": {"v1_x": 0.0, "v1_y": 0.0, "v1_z": 1.0},
    "association": {"v1_x": 0.0, "v1_y": 1.0, "v1_z": 0.0},
}


def result(pitch=0.0, alps=1.5, **changes):
    rois = tuple(
        RoiDiffusivity(
            name=f"{region}_{side}",
            tensor=np.ones(6),
            tensor_uncorrected=np.ones(6),
            scalars={**GOOD, **ALONG[region], **changes},
        )
        for region in ("projection", "association")
        for side in SIDES
    )
    indices = {"left": alps, "right": 1.5, "bilateral": (alps + 1.5) / 2}
    pose = Pose(pitch=pitch, roll=0.0, yaw=0.0)
    return AlpsResult(alps=indices, alps_uncorrected=indices, rois=rois, pose=pose)


def statuses(found):
    return {check.name: check.status for check in check_index(found)}


def test_a_good_result_passes_every_check():
    assert set(statuses(result()).values()) == {"pass"}


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("angle_projection", {"v1_angle": 30.0}),
        ("angle_association", {"v1_angle": 30.0}),
        ("tract_rotation", {"v1_x": 0.0, "v1_y": math.cos(math.radians(57)), "v1_z": math.sin(math.radians(57))}),
        ("dispersion", {"v1_dispersion": 40.0}),
        ("fa", {"fa": 0.2}),
        ("lambda2_lambda3", {"lambda2_lambda3": 2.0}),
        ("off_tract_fraction", {"off_tract_fraction": 0.5}),
        ("other_tissue", {"other_tissue": 0.3}),
        ("effective_voxels", {"n_voxels": 2.0}),
        ("coverage", {"coverage": 0.8}),
        ("pitch", {"pitch": -12.0}),
        ("alps", {"alps": 2.4}),
        ("alps", {"alps": 0.7}),
        ("alps", {"alps": math.nan}),
    ],
)
def test_each_index_check_is_triggered_by_its_error(check, change):
    assert statuses(result(**change))[check] == "warn"


@pytest.mark.parametrize(
    ("check", "good", "doubtful"),
    [
        ("snr_b0", 25, 8),
        ("b_value", 1000, 2500),
        ("directions", 30, 7),
        ("framewise_displacement", 0.2, 2.0),
        ("outlier_slices", 0.0, 0.05),
        ("gradient_spread", 0.8, 3.5),
        ("gradient_axes", 1.1, 0.93),
        ("noise_floor", 0.2, 1.5),
        ("registration_tract_shift", 0.5, -2.5),
    ],
)
def test_each_acquisition_check_passes_and_fails(check, good, doubtful):
    assert evaluate(check, good).status == "pass"
    assert evaluate(check, doubtful).status == "warn"


def test_every_check_has_a_passing_and_a_failing_value():
    for name, limit in THRESHOLDS.items():
        step = abs(limit.warn) * 0.01
        side = -1 if limit.direction == "below" else 1
        assert evaluate(name, limit.middle + limit.warn - side * step).status == "pass"
        assert evaluate(name, limit.middle + limit.warn + side * step).status != "pass"


def test_thresholds_can_be_chosen():
    checks = check_index(result(pitch=12.0, fa=0.28))
    assert statuses(result(pitch=12.0, fa=0.28))["pitch"] == "warn"
    chosen = {check.name: check for check in apply_thresholds(checks, parse_thresholds(["pitch=15,n/a", "fa=.4,.3"]))}
    assert chosen["pitch"].status == "pass"
    assert (chosen["fa"].status, chosen["fa"].warn) == ("fail", 0.4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pitch", "is not a threshold"),
        ("pitch=a,b", "is not a threshold"),
        ("nothing=1,2", "no check"),
        ("fa=.1,.2", "before"),
        ("registration_pose_se=5,1", "before"),
    ],
)
def test_invalid_thresholds_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        apply_thresholds(check_index(result()), parse_thresholds([text]))


@pytest.mark.parametrize("check", [name for name, limit in THRESHOLDS.items() if not math.isnan(limit.fail)])
def test_failing_is_worse_than_warning(check):
    limit = THRESHOLDS[check]
    step = 0.01 * abs(limit.warn - limit.fail) * (-1 if limit.direction == "below" else 1)
    assert evaluate(check, limit.fail - step).status == "warn"
    assert evaluate(check, limit.fail + step).status == "fail"


def test_a_missing_value_is_a_warning():
    assert evaluate("fa", math.nan).status == "warn"
