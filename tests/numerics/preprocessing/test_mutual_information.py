"""Registration across contrasts: an image and its own negative, shifted by whole voxels."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from bids_alps.numerics.preprocessing.mutual_information import align_by_mutual_information


@pytest.mark.parametrize("axes", [np.diag([-3.0, 3, 3, 1]), np.diag([3.0, 3, 3, 1])[:, [1, 2, 0, 3]]])
def test_a_displacement_is_recovered_across_inverted_contrast(axes):
    random = np.random.default_rng(0)
    image = 300 + 2000 * ndimage.gaussian_filter(random.normal(size=(26, 26, 26)), 2)
    negative = 900 - np.roll(image, 1, axis=0)
    mask = np.zeros(image.shape, dtype=bool)
    mask[4:-4, 4:-4, 4:-4] = True
    found = align_by_mutual_information(image, negative, mask, axes)
    center = axes[:3, :3] @ np.full(3, 12.5) + axes[:3, 3]
    moved = found[:3, :3] @ center + found[:3, 3] - center
    assert np.allclose(moved, axes[:3, 0], atol=0.2)
    assert np.allclose(found[:3, :3], np.eye(3), atol=0.01)


def test_the_number_of_threads_changes_no_byte():
    random = np.random.default_rng(1)
    image = 300 + 2000 * ndimage.gaussian_filter(random.normal(size=(26, 26, 26)), 2)
    negative = 900 - np.roll(image, 1, axis=1)
    mask = np.ones(image.shape, dtype=bool)
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    found = []
    for threads in (1, 2, 4):
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
        found.append(align_by_mutual_information(image, negative, mask, np.diag([3.0, 3, 3, 1])).tobytes())
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == threads
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert len(set(found)) == 1
