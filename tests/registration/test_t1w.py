import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_alps.model import SpatialMap, sample_linear
from bids_alps.registration.t1w import align_t1w, shift_mm

pytestmark = pytest.mark.medium


def moved(angles, shift, center):
    """The matrix that turns a head about its center and shifts it, diffusion image to T1w."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = center - matrix[:3, :3] @ center + shift
    return matrix


def make_t1w(template, truth, matrix, center):
    """A T1w of a head after it moved, with a smooth profile of its coils and noise."""
    affine = np.diag([-2.0, 2, 2, 1])
    affine[:3, 3] = center - affine[:3, :3] @ np.array([50, 60, 50])
    grid = SpatialMap(data=np.zeros((101, 121, 101), dtype=np.float32), affine=affine)
    points = grid.world(np.stack(np.indices(grid.shape), axis=-1))
    back = np.linalg.inv(matrix)
    values = sample_linear(template.t1w, truth.template_from_subject(points @ back[:3, :3].T + back[:3, 3]))
    profile = 1 + 0.002 * (points[..., 1] - center[1])
    noise = np.random.default_rng(4).normal(scale=0.03 * values.max(), size=values.shape)
    return grid.like((values * profile + noise).astype(np.float32))


@pytest.mark.parametrize(
    ("angles", "shift"), [((0, 0, 0), (0, 0, 0)), ((2, -1, 1.5), (1, 2, -1.5)), ((-9, 4, 6), (8, -12, 6))]
)
def test_the_pose_of_a_moved_head_is_recovered(turned_head, template, angles, shift):
    subject, truth = turned_head
    points = subject.mask.world(np.argwhere(subject.mask.data))
    known = moved(angles, shift, points.mean(axis=0))
    fit = align_t1w(subject, make_t1w(template, truth, known, points.mean(axis=0)))
    found = fit.subject_from_template
    assert shift_mm(np.linalg.inv(known) @ found, subject.mask) < 0.8
    assert shift_mm(found, subject.mask) == pytest.approx(shift_mm(known, subject.mask), abs=0.8)
    assert fit.similarity > 0.5


def test_an_image_of_something_else_has_low_similarity(turned_head):
    subject, _ = turned_head
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = subject.mask.world(np.array(subject.mask.shape) / 2) - 100
    noise = np.random.default_rng(1).normal(size=(50, 50, 50)).astype(np.float32)
    assert align_t1w(subject, SpatialMap(data=noise, affine=affine)).similarity < 0.3
