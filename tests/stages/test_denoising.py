from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_alps.model import DwiRun, DwiSeries, Gradients, SpatialMap
from bids_alps.settings import Method
from bids_alps.stages.denoising import clean

METHOD = Method(denoising=True, unringing=True)


def run(**metadata):
    return DwiRun(entities={"sub": "01"}, image=Path("a"), bval=Path("b"), bvec=Path("c"), metadata=metadata)


def series(volumes, shape=(10, 10, 10)):
    bvecs = np.zeros((volumes, 3))
    bvecs[1:, 0] = 1
    data = np.random.default_rng(0).normal(500, 20, (*shape, volumes)).astype(np.float32)
    gradients = Gradients(bvals=np.where(np.arange(volumes) > 0, 1000.0, 0.0), bvecs=bvecs)
    return DwiSeries(image=SpatialMap(data=data, affine=np.eye(4)), gradients=gradients)


@pytest.mark.slow
def test_both_steps_run_without_changing_the_input():
    given = series(32)
    before = np.array(given.image.data)
    found = clean(run(), given, np.ones(given.image.shape, dtype=bool), METHOD)
    assert list(found.before_after) == ["denoise", "gibbs"]
    assert found.figures["noise_sigma"] > 10
    assert (given.image.data == before).all()
    assert (found.series.image.data != before).any()


def test_few_volumes_are_skipped_with_a_note():
    given = series(15)
    found = clean(run(), given, np.ones(given.image.shape, dtype=bool), replace(METHOD, unringing=False))
    assert found.series is given
    assert found.notes == ("Not denoised: 15 volumes, where MP-PCA needs 30.",)


def test_a_thin_slab_is_skipped_with_a_note():
    given = series(32, shape=(10, 10, 3))
    found = clean(run(), given, np.ones(given.image.shape, dtype=bool), replace(METHOD, unringing=False))
    assert "3 voxels along one axis" in found.notes[0]


def test_partial_fourier_is_skipped_with_a_note():
    given = series(15)
    found = clean(run(PartialFourier=0.75), given, np.ones(given.image.shape, dtype=bool), METHOD)
    assert found.series is given
    assert "PartialFourier is 0.75" in found.notes[1]
