"""A lesion in one projection region of a head whose index is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_alps.errors import CoverageError, ImageError, RegistrationError
from bids_alps.io.images import read_map
from bids_alps.io.presets import read_preset
from bids_alps.io.templates import read_template
from bids_alps.io.writing import write_map
from bids_alps.model import DwiRun, DwiSeries, LesionMask, SpatialMap, SpatialTransform, sample_linear
from bids_alps.numerics.index.lesions import lesion_fraction_map
from bids_alps.phantom import PhantomSettings
from bids_alps.phantom.subject import make_subject
from bids_alps.registration.base import Registration
from bids_alps.registration.t1w import shift_mm
from bids_alps.settings import Method
from bids_alps.stages.aligned import AlignedRun
from bids_alps.stages.index import measure
from bids_alps.stages.lesions import Lesions, check_lesions, place_lesions
from bids_alps.stages.outputs import RunOutputs
from bids_alps.stages.prepare import PreparedSeries
from bids_alps.stages.preprocessing import PreprocessedSeries
from bids_alps.stages.registration import subject_maps
from bids_alps.stages.tensors import fit

pytestmark = pytest.mark.medium

PRESET = read_preset("alps-sphere", radius_mm=5)
RADIUS_MM, LESION_MD, LESION_S0 = 5.0, 1.5e-3, 900.0
BESIDE_MM = np.array([0.0, 3.0, 3.0])  # from the region's center: healthy voxels are left
DWI_RUN = DwiRun(entities={"sub": "01"}, image=Path("a"), bval=Path("b"), bvec=Path("c"))
HERE = SpatialTransform(affine=np.eye(4), rigid=np.eye(4))


@pytest.fixture(scope="module")
def phantom():
    settings = PhantomSettings(voxel_size=2.5, directions=12, b0=1, snr=0.0, rotation=8.0, slab=36.0, scalp=False)
    return make_subject(settings, 3)


@pytest.fixture(scope="module")
def blob(phantom):
    """The lesion in world mm of the scan, on its own grid: 1 in a sphere."""
    center = phantom.truth.transform.subject_from_template(np.add(PRESET.centers["projection_left"], BESIDE_MM))
    shape = np.array([150, 180, 130])
    affine = np.diag([1.2, 1.2, 1.2, 1])
    affine[:3, 3] = phantom.image.world(np.array(phantom.image.shape) / 2) - 1.2 * shape / 2
    grid = SpatialMap(data=np.zeros(shape), affine=affine)
    distance = np.linalg.norm(grid.world(np.stack(np.indices(shape), axis=-1)) - center, axis=-1)
    return grid.like((distance <= RADIUS_MM).astype(np.uint8)), center


def fitted(phantom, data, method=None):
    series = DwiSeries(image=phantom.image.like(data.astype(np.float32)), gradients=phantom.gradients)
    inside = phantom.image.data[..., 0] > 100
    prepared = PreparedSeries(series=series, mask=inside, correction=PreprocessedSeries(series=series))
    return fit(prepared, method or Method(gradient_calibration=False))


def measure_head(phantom, share=None, *, painted=True, lesions=None, **method):
    """Measurement of the head, with or without a simulated lesion, and with or without its mask."""
    data = phantom.image.data
    if painted:
        part = share.data[..., None]
        data = (1 - part) * data + part * LESION_S0 * np.exp(-phantom.gradients.bvals * LESION_MD)
    chosen = Method(gradient_calibration=False, **method)
    truth = phantom.truth
    found = Registration(transform=truth.transform, pose=truth.pose, placement_se_mm=0.5)
    aligned = AlignedRun(fitted=fitted(phantom, data, chosen), registration=found, method=chosen, lesions=lesions)
    return measure(aligned, PRESET)


@pytest.fixture(scope="module")
def share(phantom, blob):
    return lesion_fraction_map(blob[0], HERE, phantom.image.like(phantom.image.data[..., 0] > 100))


@pytest.fixture(scope="module")
def healthy(phantom):
    return measure_head(phantom, painted=False)


@pytest.fixture(scope="module")
def kept(phantom, share):
    return measure_head(phantom, share, lesions=Lesions(fraction=share, space="dwi"))


@pytest.fixture(scope="module")
def excluded(phantom, share):
    return measure_head(phantom, share, lesions=Lesions(fraction=share, space="dwi"), exclude_lesions=True)


def test_excluding_the_lesion_restores_the_healthy_index(kept, healthy):
    lesions, truth = kept.result.lesions, healthy.result.alps["left"]
    assert lesions.alps_with["left"] < truth - 0.06
    assert lesions.alps_without["left"] == pytest.approx(truth, abs=0.015)
    assert lesions.alps_with["right"] == lesions.alps_without["right"] == healthy.result.alps["right"]


def test_overlap_equals_that_of_two_spheres(phantom, blob, kept):
    """By points in the region's sphere, carried to the head."""
    points = np.random.default_rng(1).uniform(-5, 5, (20000, 3))
    points = points[np.linalg.norm(points, axis=1) <= 5] + PRESET.centers["projection_left"]
    carried = phantom.truth.transform.subject_from_template(points)
    known = (np.linalg.norm(carried - blob[1], axis=1) <= RADIUS_MM).mean()
    overlaps = {roi.name: roi.scalars["lesion_overlap"] for roi in kept.result.rois}
    assert overlaps.pop("projection_left") == pytest.approx(known, abs=0.04)
    assert overlaps.pop("association_left") < 0.02
    assert set(overlaps.values()) == {0.0}
    assert kept.result.lesions.volume_ml == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3 / 1000, rel=0.03)


def test_excluded_voxels_are_not_used_anywhere(kept, excluded, share):
    assert kept.result.alps == kept.result.lesions.alps_with == excluded.result.lesions.alps_with
    assert excluded.result.alps == excluded.result.lesions.alps_without == kept.result.lesions.alps_without
    interval = excluded.result.interval["left"]
    assert interval.low < excluded.result.alps["left"] < interval.high
    regions = [next(roi for roi in one.rois if roi.name == "projection_left") for one in (kept, excluded)]
    assert share.data[tuple(regions[1].voxels.T)].max() == 0
    assert 0 < regions[1].effective_voxels < regions[0].effective_voxels
    assert {check.status for check in excluded.checks if check.name == "lesion_overlap"} == {"warn"}


def test_a_region_within_an_excluded_lesion_has_no_index(phantom, share):
    whole = Lesions(fraction=share.like(np.ones(share.shape)), space="dwi")
    result = measure_head(phantom, painted=False, lesions=whole, exclude_lesions=True, keep_failed=True).result
    assert np.isnan(result.alps["left"])
    assert np.isfinite(result.lesions.alps_with["left"])
    assert result.interval == {}


def test_lesion_checks_without_a_dataset_or_a_mask(healthy):
    assert "lesion_overlap" not in {check.name for check in healthy.checks}
    (check,) = check_lesions(healthy.result, Lesions(fraction=None, space=""))
    assert np.isnan(check.value)
    assert check.status == "warn"


@pytest.fixture(scope="module")
def subject(phantom):
    return subject_maps(fitted(phantom, phantom.image.data), DWI_RUN)


@pytest.fixture
def placed(tmp_path, phantom, subject):
    """A function that places a mask of a space."""

    def place(mask, space="dwi", *, t1w=None, **how):
        path = tmp_path / "sub-01_label-lesion_mask.nii.gz"
        write_map(path, mask, sidecar={}, dtype=np.float32)
        run = replace(DWI_RUN, lesions=LesionMask(path=path, space=space), t1w=Path("sub-01_T1w.nii.gz"))
        where = RunOutputs(output_dir=tmp_path / "out", run=run, template=PRESET.template)
        return place_lesions(where, replace(subject, t1w=t1w), read_template(), phantom.truth.transform, **how)

    return place


def shared(one, other):
    """Jaccard index of two images of fractions."""
    return np.minimum(one.data, other.data).sum() / np.maximum(one.data, other.data).sum()


def test_a_mask_in_the_template_is_transformed_to_the_subject(tmp_path, phantom, placed, share):
    center = np.add(PRESET.centers["projection_left"], BESIDE_MM)
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = (-90, -126, -72)
    grid = SpatialMap(data=np.zeros((181, 217, 181)), affine=affine)
    x, y, z = (grid.affine[n, 3] + np.arange(grid.shape[n]) - center[n] for n in range(3))
    ball = x[:, None, None] ** 2 + y[:, None] ** 2 + z**2 <= RADIUS_MM**2
    found = placed(grid.like(ball), PRESET.template)
    assert shared(found.fraction, share) > 0.75  # the head is scaled and warped
    written = read_map(tmp_path / "out/sub-01/dwi/sub-01_label-lesion_probseg.nii.gz")
    np.testing.assert_array_equal(written.data, found.fraction.data)


def test_an_empty_mask_has_no_overlap(phantom, blob, placed):
    lesions = placed(blob[0].like(np.zeros(blob[0].shape)))
    result = measure_head(phantom, painted=False, lesions=lesions).result
    assert result.lesions.volume_ml == 0
    assert {roi.scalars["lesion_overlap"] for roi in result.rois} == {0.0}
    assert result.lesions.alps_with == result.lesions.alps_without


def test_an_implausible_lesion_mask_is_refused_by_name(blob, placed):
    with pytest.raises(ImageError, match=r"label-lesion_mask.nii.gz: values other than 0 and 1"):
        placed(blob[0].like(blob[0].data * 3))
    part = SpatialMap(data=blob[0].data[:70], affine=blob[0].affine)
    with pytest.raises(CoverageError, match=r"label-lesion_mask.nii.gz: its field of view covers \d+% of the brain"):
        placed(part)


@pytest.fixture(scope="module")
def moved(phantom, blob):
    """How the head moved before its T1w was taken, that T1w, and the lesion as drawn on it."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", (3, -2, 4), degrees=True).as_matrix()
    turn[:3, 3] = (2, -5, 3)
    lesion = SpatialMap(data=blob[0].data, affine=turn @ blob[0].affine)
    coarse = SpatialMap(data=blob[0].data[::2, ::2, ::2], affine=lesion.affine @ np.diag([2.0, 2, 2, 1]))
    points = coarse.world(np.stack(np.indices(coarse.shape), axis=-1))
    back = np.linalg.inv(turn)
    template = phantom.truth.transform.template_from_subject(points @ back[:3, :3].T + back[:3, 3])
    return turn, coarse.like(sample_linear(read_template().t1w, template).astype(np.float32)), lesion


def test_a_mask_drawn_on_the_t1w_follows_the_head(subject, placed, share, moved):
    turn, t1w, lesion = moved
    assert shared(placed(lesion, "T1w", t1w=t1w).fraction, share) > 0.6
    trusted = placed(lesion, "T1w", t1w=t1w, t1w_aligned=True)
    assert shared(trusted.fraction, share) < 0.3
    assert trusted.uncorrected_mm == pytest.approx(shift_mm(turn, subject.mask), abs=1)


def test_an_unregistrable_t1w_is_refused_or_has_no_shift(placed, moved):
    _, t1w, lesion = moved
    noise = t1w.like(np.random.default_rng(1).normal(size=t1w.shape).astype(np.float32))
    with pytest.raises(RegistrationError, match=r"sub-01_T1w.nii.gz: correlation with the diffusion maps"):
        placed(lesion, "T1w", t1w=noise)
    assert np.isnan(placed(lesion, "T1w", t1w=noise, t1w_aligned=True).uncorrected_mm)
    assert np.isnan(placed(lesion, "FLAIR", t1w=t1w, t1w_aligned=True).uncorrected_mm)
