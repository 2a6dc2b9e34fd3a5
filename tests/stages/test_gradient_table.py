"""A gradient table that was written in another convention is read rightly, or left alone."""

from __future__ import annotations

import numpy as np
import pytest

from bids_alps.model import DwiSeries, Gradients, SpatialMap
from bids_alps.settings import Method
from bids_alps.stages.gradient_table import repair_table

REPAIR = Method(gradient_table="repair")
SHAPE = (24, 24, 12)
ALONG = np.array([[0.75, 0.62, 0.23], [0.23, 0.62, 0.75]])


def bundles() -> DwiSeries:
    """Two families of thin straight bundles in tissue without a direction, at b = 1000 along 20 directions."""
    places = np.moveaxis(np.indices(SHAPE), 0, -1)
    halves = []
    for along in ALONG:
        inside = (np.cos(places @ np.linalg.svd(along[None])[2][1:].T) > 0).all(axis=-1)
        unit = along / np.linalg.norm(along)
        halves.append(np.eye(3) + inside[..., None, None] * (np.outer(unit, unit) - np.eye(3) / 3))
    tensors = 0.8e-3 * np.where((places[..., 0] < SHAPE[0] // 2)[..., None, None], *halves)
    k = np.arange(20) + 0.5
    z, turn = 1 - k / 20, np.pi * (1 + 5**0.5) * k
    vectors = np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1)
    bvals, bvecs = np.r_[0, np.full(20, 1000.0)], np.r_[np.zeros((1, 3)), vectors]
    signal = 1000 * np.exp(-bvals * np.einsum("ni,...ij,nj->...n", bvecs, tensors, bvecs))
    image = SpatialMap(data=signal.astype(np.float32), affine=np.diag([2.0, 2, 2, 1]))
    return DwiSeries(image=image, gradients=Gradients(bvals=bvals, bvecs=bvecs))


def told_as(series: DwiSeries, reading: np.ndarray) -> DwiSeries:
    gradients = Gradients(bvals=series.gradients.bvals, bvecs=series.gradients.bvecs @ reading)
    return DwiSeries(image=series.image, gradients=gradients)


@pytest.mark.parametrize(
    "reading",
    [np.diag([-1.0, 1, 1]), np.diag([1.0, 1, -1]), np.eye(3)[[1, 0, 2]], np.eye(3)[[2, 0, 1]] @ np.diag([1.0, -1, 1])],
)
def test_a_wrong_table_is_repaired_on_request(reading: np.ndarray) -> None:
    right, mask = bundles(), np.ones(SHAPE, dtype=bool)
    wrong = told_as(right, reading)
    assert repair_table(wrong, mask, Method()) is wrong
    repaired = repair_table(wrong, mask, REPAIR)
    aligned = np.abs((repaired.gradients.bvecs * right.gradients.bvecs).sum(1))[1:]
    np.testing.assert_allclose(aligned, 1, atol=1e-9)
    (note,) = repaired.notes
    assert note.startswith("gradient table repaired: ")


def test_a_correct_table_is_unchanged() -> None:
    right = bundles()
    assert repair_table(right, np.ones(SHAPE, dtype=bool), REPAIR) is right


def test_an_ambiguous_table_is_unchanged_with_a_note() -> None:
    """Noise that hides the fibers leaves no reading ahead of the others."""
    right = bundles()
    wrong = told_as(right, np.eye(3)[[1, 0, 2]])
    noise = np.random.default_rng(0).normal(scale=400, size=right.image.data.shape)
    noisy = DwiSeries(image=right.image.like(np.abs(wrong.image.data + noise)), gradients=wrong.gradients)
    found = repair_table(noisy, np.ones(SHAPE, dtype=bool), REPAIR)
    np.testing.assert_array_equal(found.gradients.bvecs, wrong.gradients.bvecs)


def test_a_table_that_no_orientation_can_be_told_from_is_unchanged_with_a_note() -> None:
    """Without fibers there is nothing to verify the table by."""
    right = bundles()
    flat = right.image.like(np.where(right.gradients.bvals > 0, 400.0, 1000.0) * np.ones((*SHAPE, 1), np.float32))
    found = repair_table(DwiSeries(image=flat, gradients=right.gradients), np.ones(SHAPE, dtype=bool), REPAIR)
    assert found.gradients is right.gradients
    assert [note.partition(":")[0] for note in found.notes] == ["gradient axes not verified"]


def test_a_table_that_is_hardly_better_than_others_is_unchanged_with_a_note() -> None:
    """Bundles along the axes of the voxels continue in every orientation that exchanges axes with bundles."""
    right = bundles()
    places = np.indices(SHAPE).transpose(1, 2, 3, 0)
    axis = (places // 4).sum(axis=-1) % 3
    along = right.gradients.bvecs[:, axis].transpose(1, 2, 3, 0)
    signal = 1000 * np.exp(-right.gradients.bvals * (0.0004 + 0.0012 * along**2))
    series = DwiSeries(image=right.image.like(signal.astype(np.float32)), gradients=right.gradients)
    found = repair_table(series, np.ones(SHAPE, dtype=bool), REPAIR)
    assert found.gradients is right.gradients
    assert len(found.notes) == 1
