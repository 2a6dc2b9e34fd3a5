"""Signals of a tract with fibers that cross it, whose shares and index are known."""

from __future__ import annotations

import numpy as np
import pytest

from bids_alps.model import SIDES, DwiSeries, Gradients, Roi, SpatialMap
from bids_alps.numerics.index import crossing
from bids_alps.numerics.index.alps import alps_from_series
from bids_alps.numerics.index.crossing import choose_crossing_volumes, measure_crossing, single_fiber_response

RESPONSE = (1.45e-3, 0.40e-3)
TRACTS = {"projection": np.array([0.56, 0.37, 1.3]) * 1e-3, "association": np.array([0.56, 1.3, 0.37]) * 1e-3}
INDEX = 0.56 / 0.37
CALLOSAL = np.array([1.45, 0.40, 0.40]) * 1e-3


def table(*shells):
    bvals, bvecs = [np.zeros(2)], [np.zeros((2, 3))]
    for k, (b, n) in enumerate(shells):
        z, turn = (np.arange(n) + 0.5) / n, np.pi * (1 + 5**0.5) * np.arange(n) + k
        bvecs.append(np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1))
        bvals.append(np.full(n, float(b)))
    return Gradients(bvals=np.concatenate(bvals), bvecs=np.vstack(bvecs))


def regions(gradients, callosal, water=0.0):
    squares, b = gradients.bvecs**2, gradients.bvals
    names = [f"{region}_{side}" for region in TRACTS for side in SIDES]
    signal = [
        (1 - callosal - water) * np.exp(-b * (squares @ TRACTS[name.partition("_")[0]]))
        + callosal * np.exp(-b * (squares @ CALLOSAL))
        + water * np.exp(-b * 3e-3)
        for name in names
    ]
    data = 1000 * np.array(signal)[:, None, None]
    rois = [Roi(name=name, voxels=np.array([[row, 0, 0]]), weights=np.ones(1)) for row, name in enumerate(names)]
    return DwiSeries(image=SpatialMap(data=data, affine=np.eye(4)), gradients=gradients), rois


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shells", "water"), [(((1000, 30), (2000, 30)), 0.0), (((1000, 30), (2000, 30)), 0.1), (((2500, 60),), 0.0)]
)
def test_fractions_and_the_index_of_the_tracts_are_recovered(shells, water):
    gradients = table(*shells)
    series, rois = regions(gradients, 0.2, water)
    volumes = choose_crossing_volumes(gradients, b0_threshold=50.0)
    assert volumes is not None
    found = measure_crossing(series, volumes, rois, np.eye(3), RESPONSE, seed=0)
    assert found.fractions["projection_left"]["x"] == pytest.approx(0.2, abs=0.02)
    assert found.fractions["projection_left"]["water"] == pytest.approx(water, abs=0.02)
    assert sum(found.fractions["association_right"].values()) == pytest.approx(1)
    assert found.alps["bilateral"] == pytest.approx(INDEX, rel=0.03)
    assert alps_from_series(series, rois, np.eye(3))["left"] > 1.1 * INDEX or water


@pytest.mark.slow
def test_vectors_of_b0_volumes_have_no_effect():
    gradients = table((2500, 60))
    series, rois = regions(gradients, 0.2)
    with_vectors = np.where((gradients.bvals == 0)[:, None], [1.0, 0.0, 0.0], gradients.bvecs)
    directed = DwiSeries(image=series.image, gradients=Gradients(bvals=gradients.bvals, bvecs=with_vectors))
    volumes = choose_crossing_volumes(gradients, b0_threshold=50.0)
    assert volumes is not None
    found, expected = (measure_crossing(one, volumes, rois, np.eye(3), RESPONSE, seed=0) for one in (directed, series))
    assert found.alps == expected.alps
    assert found.fractions["projection_left"]["water"] == pytest.approx(0.0, abs=1e-3)


def test_without_noise_the_index_is_the_true_one_and_has_no_error(monkeypatch):
    monkeypatch.setattr(crossing, "BOOTSTRAPS", 2)
    gradients = table((1000, 15), (2000, 15))
    series, rois = regions(gradients, 0.2)
    everything = np.ones(len(gradients), dtype=bool)
    found = measure_crossing(series, everything, rois, np.eye(3), RESPONSE, seed=0)
    assert found.alps["bilateral"] == pytest.approx(INDEX, rel=0.05)
    assert found.se["bilateral"] < 0.05
    assert sum(found.fractions["projection_right"].values()) == pytest.approx(1)


@pytest.mark.parametrize("shells", [((1000, 64),), ((2000, 30),), ((700, 30), (1400, 30))])
def test_scans_unsuited_to_crossing_fibers_are_not_fitted(shells):
    assert choose_crossing_volumes(table(*shells), b0_threshold=50.0) is None


def test_the_response_comes_from_the_most_anisotropic_voxels():
    values = np.array([[1.5e-3, 0.4e-3, 0.3e-3]] * 300 + [[0.8e-3, 0.8e-3, 0.7e-3]] * 900)
    assert single_fiber_response(values, np.r_[np.full(300, 0.7), np.full(900, 0.1)]) == pytest.approx(
        (1.5e-3, 0.35e-3)
    )
