"""The contract of all engines, and their accuracy on a head with a known transform."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from heads import CENTERS, Head, center_errors, make_head, pose_error

from bids_alps.errors import BadDataError, CoverageError, RegistrationError
from bids_alps.model import SpatialMap, SpatialTransform, SubjectMaps, Template
from bids_alps.registration.base import Registrar, Registration
from bids_alps.registration.checks import check_registration
from bids_alps.registration.staged import Staged

pytestmark = [pytest.mark.medium, pytest.mark.untraced]

ENGINES = ("staged", pytest.param("dipy", marks=pytest.mark.slow), "identity", "precomputed")
NAMES = ("projection_left", "projection_right", "association_left", "association_right")
NAMED = {name: tuple(center) for name, center in zip(NAMES, CENTERS.tolist(), strict=True)}


@pytest.mark.parametrize("engine", ENGINES)
def test_point_maps_are_inverses(engine: str, registrations: dict[str, Registration]) -> None:
    transform = registrations[engine].transform
    back = transform.template_from_subject(transform.subject_from_template(CENTERS))
    np.testing.assert_allclose(back, CENTERS, atol=0.02)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_rotation_is_proper(engine: str, registrations: dict[str, Registration]) -> None:
    rotation = registrations[engine].transform.rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_mask_is_refused(
    engine: str,
    engines: dict[str, Registrar],
    turned_head: tuple[SubjectMaps, SpatialTransform],
    template: Template,
) -> None:
    subject = turned_head[0]
    empty = replace(subject, mask=subject.mask.like(np.zeros(subject.mask.shape, dtype=bool)))
    with pytest.raises(RegistrationError, match="mask has a volume of 0 ml"):
        engines[engine].register(empty, template)


@pytest.mark.parametrize(
    ("engine", "center_mm", "pose_degrees"),
    [("staged", 1.5, 1.0), pytest.param("dipy", 2.5, 3.0, marks=pytest.mark.slow), ("precomputed", 0.1, 1.0)],
)
def test_a_known_transform_is_recovered(
    engine: str,
    center_mm: float,
    pose_degrees: float,
    registrations: Mapping[str, Registration],
    turned_head: tuple[SubjectMaps, SpatialTransform],
) -> None:
    found, truth = registrations[engine].transform, turned_head[1]
    assert center_errors(found, truth).max() < center_mm
    assert pose_error(found, truth) < pose_degrees


@pytest.mark.slow
def test_storage_order_does_not_matter(
    registrations: Mapping[str, Registration], turned_head: tuple[SubjectMaps, SpatialTransform], template: Template
) -> None:
    subject = turned_head[0]
    permuted = SubjectMaps(
        **{name: _restored(getattr(subject, name)) for name in ("fa", "md", "b0", "mask")},
    )
    found = Staged().register(permuted, template)
    usual = registrations["staged"]
    gaps = found.transform.subject_from_template(CENTERS) - usual.transform.subject_from_template(CENTERS)
    assert np.abs(gaps).max() < 0.1
    assert found.pose.pitch == pytest.approx(usual.pose.pitch, abs=0.1)


def _restored(image: SpatialMap) -> SpatialMap:
    """The same image with its axes permuted and one of them reversed."""
    data = np.transpose(image.data, (1, 2, 0))[:, ::-1]
    affine = image.affine[:, [1, 2, 0, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (data.shape[1] - 1)
    affine[:3, 1] *= -1
    return type(image)(data=data, affine=affine)


def test_a_correct_registration_passes_its_checks(
    registrations: dict[str, Registration], turned_head: tuple[SubjectMaps, SpatialTransform], template: Template
) -> None:
    checks = check_registration(registrations["staged"], turned_head[0], template, NAMED)
    assert {check.name: check.value for check in checks if check.status == "fail"} == {}


def test_a_wrong_registration_fails_its_checks(
    registrations: dict[str, Registration], turned_head: tuple[SubjectMaps, SpatialTransform], template: Template
) -> None:
    right = registrations["staged"]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ right.transform.affine
    wrong = SpatialTransform(affine=affine, rigid=np.diag([-1.0, -1.0, 1.0, 1.0]) @ right.transform.rigid)
    checks = check_registration(replace(right, transform=wrong), turned_head[0], template, NAMED)
    failed = {check.name for check in checks if check.status == "fail"}
    assert failed & {"registration_overlap", "registration_ventricle_contrast", "registration_roi_white_matter"}


@pytest.mark.slow
def test_a_head_with_a_flipped_header_is_refused(template: Template) -> None:
    subject, _ = make_head(Head(voxel_mm=4.0), template)
    upside_down = np.diag([1.0, 1.0, -1.0, 1.0])
    flipped = SubjectMaps(
        **{
            name: type(image)(data=image.data, affine=upside_down @ image.affine)
            for name, image in ((name, getattr(subject, name)) for name in ("fa", "md", "b0", "mask"))
        }
    )
    try:
        found = Staged(deformable=False).register(flipped, template)
        checks = check_registration(found, flipped, template, NAMED)
    except BadDataError:
        return
    assert "fail" in {check.status for check in checks}


def test_a_slab_below_the_rois_is_refused(
    registrations: dict[str, Registration], turned_head: tuple[SubjectMaps, SpatialTransform], template: Template
) -> None:
    subject = turned_head[0]
    heights = registrations["staged"].transform.template_from_subject(
        subject.mask.world(np.moveaxis(np.indices(subject.mask.shape), 0, -1))
    )[..., 2]
    low = replace(subject, mask=subject.mask.like(subject.mask.data & (heights < 15)))
    with pytest.raises(CoverageError, match="none of the 4 ROI centers"):
        check_registration(registrations["staged"], low, template, NAMED)


@pytest.mark.slow
def test_a_ball_of_noise_is_refused(template: Template) -> None:
    subject, _ = make_head(Head(voxel_mm=4.0), template)
    random = np.random.default_rng(3)
    radius = np.linalg.norm(
        np.moveaxis(np.indices(subject.mask.shape), 0, -1) - np.array(subject.mask.shape) / 2, axis=-1
    )
    ball = radius < 17
    phantom = SubjectMaps(
        fa=subject.fa.like(ball * random.uniform(0, 0.3, ball.shape)),
        md=subject.md.like(ball * random.uniform(0.5e-3, 2.5e-3, ball.shape)),
        b0=subject.b0.like(ball * 100.0),
        mask=subject.mask.like(ball),
    )
    try:
        found = Staged(deformable=False).register(phantom, template)
        checks = check_registration(found, phantom, template, NAMED)
    except BadDataError:
        return
    assert "fail" in {check.status for check in checks}


_THREADS = """
import pickle, sys
from pathlib import Path
from bids_alps.io.templates import read_template
from bids_alps.registration.staged import Staged
found = Staged().register(pickle.loads(Path(sys.argv[1]).read_bytes()), read_template())
transform = found.transform
Path(sys.argv[2]).write_bytes(transform.affine.tobytes() + transform.displacement.data.tobytes())
"""


@pytest.mark.slow
def test_thread_count_does_not_change_a_byte(
    tmp_path: Path, registrations: dict[str, Registration], turned_head: tuple[SubjectMaps, SpatialTransform]
) -> None:
    (tmp_path / "subject").write_bytes(pickle.dumps(turned_head[0]))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    other = "2" if "1" in {os.environ.get(name) for name in names} else "1"  # than here
    environment = {**os.environ, **dict.fromkeys(names, other), "PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", _THREADS, str(tmp_path / "subject"), str(tmp_path / "target")]
    subprocess.run(program, check=True, env=environment)
    here = registrations["staged"].transform
    assert (tmp_path / "target").read_bytes() == here.affine.tobytes() + here.displacement.data.tobytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_registration_can_be_pickled(engine: str, registrations: dict[str, Registration]) -> None:
    found = registrations[engine]
    copied = pickle.loads(pickle.dumps(found.transform))  # noqa: S301 (our own bytes)
    np.testing.assert_array_equal(copied.affine, found.transform.affine)
