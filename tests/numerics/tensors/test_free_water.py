import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_alps.model import DwiSeries, Gradients, Roi, SpatialMap
from bids_alps.numerics.index.free_water import measure_free_water
from bids_alps.numerics.tensors.free_water import choose_volumes, fit_free_water

PROJECTION, ASSOCIATION = np.diag([0.6e-3, 0.4e-3, 1.1e-3]), np.diag([0.65e-3, 1.1e-3, 0.4e-3])


def directions(n):
    k = np.arange(n) + 0.5
    z, turn = 1 - k / n, np.pi * (1 + 5**0.5) * k
    return np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1)


def gradients(*shells):
    bvals = np.concatenate([[0, 0], *(np.full(30, b) for b in shells)])
    bvecs = np.concatenate([np.zeros((2, 3)), *(directions(30) for _ in shells)])
    return Gradients(bvals=bvals, bvecs=bvecs)


def signal_of(tensor, fraction, weighting):
    exponents = weighting.bvals * np.einsum("ni,ij,nj->n", weighting.bvecs, tensor, weighting.bvecs)
    return 1000 * ((1 - fraction) * np.exp(-exponents) + fraction * np.exp(-weighting.bvals * 3e-3))


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3])
def test_tensor_and_free_water_fraction_are_recovered(fraction):
    weighting = gradients(700, 1500)
    turn = Rotation.from_euler("xyz", [20, -10, 30], degrees=True).as_matrix()
    tensor = turn @ PROJECTION @ turn.T
    elements, found = fit_free_water(signal_of(tensor, fraction, weighting)[None], weighting.bvals, weighting.bvecs)
    assert found[0] == pytest.approx(fraction, abs=0.01)
    assert elements[0] == pytest.approx(tensor[np.triu_indices(3)], abs=1.5e-5)


def test_volumes_without_a_direction_count_as_b0():
    weighting = gradients(700, 1500)
    weak = np.where(weighting.bvals == 0, 60.0, weighting.bvals)
    elements, found = fit_free_water(signal_of(PROJECTION, 0.1, weighting)[None], weak, weighting.bvecs)
    assert found[0] == pytest.approx(0.1, abs=0.03)
    assert elements[0] == pytest.approx(PROJECTION[np.triu_indices(3)], rel=0.1, abs=1.5e-5)


def test_free_water_leaves_the_corrected_index():
    weighting = gradients(700, 1500)
    data = np.zeros((4, 1, 1, len(weighting)), dtype=np.float32)
    names = ["projection_left", "association_left", "projection_right", "association_right"]
    for n, name in enumerate(names):
        tensor = PROJECTION if name.startswith("projection") else ASSOCIATION
        data[n, 0, 0] = signal_of(tensor, 0.25 if name.endswith("left") else 0.05, weighting)
    series = DwiSeries(image=SpatialMap(data=data, affine=np.eye(4)), gradients=weighting)
    rois = [Roi(name=name, voxels=np.array([[n, 0, 0]]), weights=np.ones(1)) for n, name in enumerate(names)]
    found = measure_free_water(series, np.ones(len(weighting), dtype=bool), rois, np.eye(3))
    true = (0.6 + 0.65) / (0.4 + 0.4)
    assert found.alps["left"] == pytest.approx(true, rel=0.02)
    assert found.alps["right"] == pytest.approx(true, rel=0.02)
    assert found.fractions["association_left"] == pytest.approx(0.25, abs=0.01)


def test_free_water_needs_two_shells():
    def series(*shells):
        weighting = gradients(*shells)
        image = SpatialMap(data=np.ones((1, 1, 1, len(weighting))), affine=np.eye(4))
        return DwiSeries(image=image, gradients=weighting)

    assert choose_volumes(series(1000)) is None
    assert choose_volumes(series(1000, 3000)) is None
    assert choose_volumes(series(1000, 2000, 3000)).sum() == 62
