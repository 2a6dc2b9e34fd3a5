"""A template that is an FA map alone leads to the regions too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from heads import center_errors, pose_error
from scipy.ndimage import gaussian_filter

from bids_alps.io.templates import read_template
from bids_alps.io.writing import write_map
from bids_alps.model import SpatialTransform, SubjectMaps, Template
from bids_alps.registration.checks import check_registration
from bids_alps.registration.engines import ENGINES


@pytest.mark.slow
def test_an_fa_map_is_enough_for_a_template(
    turned_head: tuple[SubjectMaps, SpatialTransform], template: Template, tmp_path: Path
) -> None:
    fa = gaussian_filter(0.45 * template.wm.data + 0.12 * template.gm.data + 0.08 * template.csf.data, 1.0)
    write_map(tmp_path / "ours.nii.gz", template.wm.like(np.where(template.mask.data, fa, 0).astype(np.float32)))
    ours = read_template(str(tmp_path / "ours.nii.gz"))
    subject, truth = turned_head
    found = ENGINES["staged"].make().register(subject, ours)
    assert center_errors(found.transform, truth).max() < 1.5
    assert pose_error(found.transform, truth) < 1.5
    centers = {"projection_left": (-26.1, -16.1, 27.6), "projection_right": (26.1, -16.1, 27.6)}
    checks = {check.name: check.status for check in check_registration(found, subject, ours, centers)}
    assert "registration_ventricle_contrast" not in checks
    assert "fail" not in checks.values()
