import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_alps.errors import CoverageError
from bids_alps.io.presets import read_preset
from bids_alps.model import Roi, SpatialMap, SpatialTransform
from bids_alps.numerics.index.alps import alps_index
from bids_alps.numerics.index.lesions import lesion_fraction_map, lesion_overlap, volume_ml, without_lesions
from bids_alps.numerics.index.rois import place_preset

HERE = SpatialTransform(affine=np.eye(4), rigid=np.eye(4))


def grid(shape, size, corner, value=1):
    affine = np.diag([*np.broadcast_to(size, 3), 1.0]).astype(float)
    affine[:3, 3] = corner
    return SpatialMap(data=np.full(shape, value), affine=affine)


BRAIN = grid((40, 30, 30), 3, (-58, -60, -15), value=True)


@settings(max_examples=6)
@given(st.floats(-30, 30), st.sampled_from([1.0, 1.7, 2.5]))
def test_a_half_space_has_the_right_volume_on_any_grid(edge, size):
    lesions = grid((int(130 / size), int(110 / size), int(110 / size)), size, (-62, -64, -20), value=0)
    x = lesions.world(np.stack(np.indices(lesions.shape), axis=-1))[..., 0]
    share = lesion_fraction_map(lesions.like((x < edge).astype(np.uint8)), HERE, BRAIN)
    low = BRAIN.world(np.zeros(3))[0] - 1.5
    mask_edge = np.ceil((edge - lesions.affine[0, 3]) / size) * size + lesions.affine[0, 3] - size / 2
    expected = (mask_edge - low) * 90 * 90 / 1000
    assert volume_ml(share) == pytest.approx(expected, abs=0.51 * 90 * 90 / 1000)  # a third of a voxel at the edge


def test_a_mask_that_covers_part_of_the_brain_is_refused():
    with pytest.raises(CoverageError, match="covers 50% of the brain"):
        lesion_fraction_map(grid((20, 30, 30), 3, (-58, -60, -15), value=0), HERE, BRAIN)


@pytest.mark.parametrize("level", [-3.0, 0.0, 2.0])
def test_overlap_is_the_volume_of_a_spherical_cap(level):
    """The cap of a sphere of radius r above height h: pi (r - h)^2 (2 r + h) / 3."""
    preset = read_preset("alps-sphere", radius_mm=6)
    rois = {roi.name: roi for roi in place_preset(preset, HERE, BRAIN)}
    fine = grid((120, 90, 180), (1, 1, 0.5), (-59, -61, -16.25), value=0)
    z = np.broadcast_to(fine.affine[2, 3] + 0.5 * np.arange(180), fine.shape)
    center = preset.centers["projection_left"][2]
    share = lesion_fraction_map(fine.like((z > center + level).astype(np.uint8)), HERE, BRAIN)
    known = (6 - level) ** 2 * (12 + level) / (4 * 6**3)
    for name in ("projection_left", "association_right"):
        assert lesion_overlap(rois[name], share) == pytest.approx(known, abs=0.03)


def test_voxels_touched_by_a_lesion_are_removed():
    roi = Roi(name="projection_left", voxels=np.array([[0, 0, n] for n in range(4)]), weights=np.ones(4))
    share = SpatialMap(data=np.array([[[1.0, 0.1, 0.0, 0.0]]]), affine=np.eye(4))
    (left,) = without_lesions([roi], share)
    assert left.voxels[:, 2].tolist() == [2, 3]
    assert left.coverage == roi.coverage
    (nothing,) = without_lesions([left], share.like(np.ones((1, 1, 4))))
    assert nothing.weights.size == 0
    assert np.isnan(lesion_overlap(nothing, share))


def test_a_lesion_in_five_percent_of_a_region_changes_the_index_by_three_percent():
    """What the threshold of the check rests on."""
    projection, association = np.diag([0.629, 0.422, 1.112]), np.diag([0.636, 1.114, 0.381])
    healthy, touched = (
        alps_index(*(tensor[np.triu_indices(3)] for tensor in (0.95 * projection + 0.05 * other, association)))
        for other in (projection, 1.5 * np.eye(3))
    )
    assert touched / healthy == pytest.approx(0.97, abs=0.005)
