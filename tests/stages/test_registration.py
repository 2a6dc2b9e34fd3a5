import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_alps.io.transforms import read_itk_transform
from bids_alps.io.writing import write_displacements
from bids_alps.model import SpatialMap, SpatialTransform
from bids_alps.stages.registration import displacements


def head_and_template():
    box = np.ones((40, 48, 40), dtype=bool)
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = -60, -72, -60
    return SpatialMap(data=box, affine=affine)


def alignment():
    rigid = np.eye(4)
    rigid[:3, :3] = Rotation.from_euler("xyz", [8, -3, 12], degrees=True).as_matrix()
    rigid[:3, 3] = 4, -7, 10
    affine = np.diag([1.08, 0.97, 1.05, 1]) @ rigid
    grid = np.moveaxis(np.indices((30, 30, 30)), 0, -1) / 30
    bend = 2 * np.stack([np.sin(3 * grid[..., 1]), np.cos(3 * grid[..., 2]), np.sin(3 * grid[..., 0])], axis=-1)
    field_affine = np.diag([6.0, 6, 6, 1])
    field_affine[:3, 3] = -90
    return SpatialTransform(affine=affine, rigid=rigid, displacement=SpatialMap(data=bend, affine=field_affine))


@pytest.mark.parametrize("way", ["template_from_subject", "subject_from_template"])
def test_written_fields_equal_the_registration(tmp_path, way):
    mask, move = head_and_template(), getattr(alignment(), way)
    path = tmp_path / "xfm.nii.gz"
    write_displacements(path, displacements(mask, move))
    points = np.random.default_rng(1).uniform(-55, 55, (200, 3))
    assert read_itk_transform(path)(points) == pytest.approx(move(points), abs=0.05)
