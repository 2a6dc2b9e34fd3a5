"""Distortion: pairs simulated from a known field by another method (forward push of the signal along lines)."""

import numpy as np
import pytest
from scipy import ndimage

from bids_alps.errors import ImageError
from bids_alps.numerics.preprocessing.distortion import EncodedImage, estimate_distortion

pytestmark = pytest.mark.medium

SHAPE = (28, 44, 20)


def head():
    """A textured ellipsoid on 28 x 44 x 20 voxels, and its mask."""
    random = np.random.default_rng(0)
    centered = (np.indices(SHAPE).T - np.array(SHAPE) / 2 + 0.5) / (np.array(SHAPE) * 0.4)
    mask = ((centered**2).sum(-1) < 1).T
    texture = ndimage.gaussian_filter(random.normal(size=SHAPE), 1.2)
    return np.where(mask, 400 + 150 * texture / texture.std(), 0.0).clip(0), mask


def field():
    """A bump of three voxels along axis 1."""
    i, j, k = (np.indices(SHAPE).T - np.array([14, 24, 9])).T
    return 3.0 * np.exp(-(i**2 + j**2 / 2 + k**2) / 60)


def pushed(image, displacement, axis):
    """Push the signal of fine line elements to their displaced positions, which conserves the signal."""
    fine = 20
    image, displacement = np.moveaxis(image, axis, -1), np.moveaxis(displacement, axis, -1)
    length = image.shape[-1]
    at = (np.arange(length * fine) + 0.5) / fine - 0.5
    out = np.zeros_like(image)
    for line in np.ndindex(image.shape[:-1]):
        value = np.interp(at, np.arange(length), image[line])
        goal = np.clip(at + np.interp(at, np.arange(length), displacement[line]), 0, length - 1.001)
        low = goal.astype(int)
        out[line] = np.bincount(low, value * (low + 1 - goal), length) + np.bincount(
            low + 1, value * (goal - low), length
        )
    return np.moveaxis(out / fine, -1, axis)


def pair(ratio=-1.0, noise=12.0, sign=1):
    image, mask = head()
    random = np.random.default_rng(1)
    images = [pushed(image, sign * c * field(), 1) + random.normal(scale=noise, size=SHAPE) for c in (1, ratio)]
    return images, ndimage.binary_dilation(mask, iterations=2), mask


def encoded(data, polarity, readout=0.05, *, affine=None, axis=1):
    affine = np.diag([-2.0, 2, 2, 1]) if affine is None else affine
    return EncodedImage(data=data, affine=affine, phase_axis=axis, polarity=polarity, readout=readout)


@pytest.mark.parametrize(("ratio", "readouts"), [(-1.0, (0.05, 0.05)), (-0.5, (0.05, 0.025))])
@pytest.mark.parametrize("polarity", [1, -1])
def test_the_field_of_an_opposite_pair_is_recovered(ratio, readouts, polarity):
    images, wide, mask = pair(ratio, sign=polarity)
    found = estimate_distortion(
        encoded(images[0], polarity, readouts[0]), encoded(images[1], -polarity, readouts[1]), wide
    )
    error = np.abs(found.displacement - polarity * field())[mask]
    assert np.median(error) < 0.1
    assert np.percentile(error, 95) < 0.3
    assert found.proven
    assert found.assumed == ""


def test_storage_order_only_reorients_the_field():
    images, wide, _ = pair()
    plain = estimate_distortion(encoded(images[0], 1), encoded(images[1], -1), wide)
    affine = np.diag([-2.0, 2, 2, 1])[:, [1, 2, 0, 3]]  # axis 1 becomes axis 0
    stored = [np.moveaxis(image, 0, 2) for image in images]
    rotated = estimate_distortion(
        encoded(stored[0], 1, affine=affine, axis=0),
        encoded(stored[1], -1, affine=affine, axis=0),
        np.moveaxis(wide, 0, 2),
    )
    assert np.allclose(np.moveaxis(rotated.displacement, 2, 0), plain.displacement, atol=0.02)
    flip = np.diag([1.0, -1, 1, 1])
    flip[1, 3] = SHAPE[1] - 1
    affine = np.diag([-2.0, 2, 2, 1]) @ flip
    flipped = estimate_distortion(
        encoded(images[0][:, ::-1], -1, affine=affine), encoded(images[1][:, ::-1], 1, affine=affine), wide[:, ::-1]
    )
    assert np.median(np.abs(-flipped.displacement[:, ::-1] - plain.displacement)[wide]) < 0.02


def test_unknown_polarity_and_readout_are_recorded():
    images, wide, mask = pair()
    found = estimate_distortion(encoded(images[0], 0, None), encoded(images[1], 0, None), wide)
    assert "opposite polarity assumed" in found.assumed
    assert "equal readout times assumed" in found.assumed
    assert np.median(np.abs(found.displacement - field())[mask]) < 0.1


def test_a_pair_without_distortion_gives_no_field():
    image, mask = head()
    random = np.random.default_rng(2)
    images = [image + random.normal(scale=20, size=SHAPE) for _ in range(2)]
    found = estimate_distortion(encoded(images[0], 1), encoded(images[1], -1), mask)
    assert not found.proven
    assert "not applied" in found.reason


def test_an_image_of_another_head_gives_no_field():
    image, mask = head()
    other = np.where(mask, image[::-1, ::-1, ::-1], 0)
    assert not estimate_distortion(encoded(image, 1), encoded(other, -1), mask).proven


def test_the_same_phase_encoding_is_refused():
    images, wide, _ = pair()
    with pytest.raises(ImageError, match="same phase-encoding direction"):
        estimate_distortion(encoded(images[0], 1), encoded(images[1], 1), wide)


def test_an_empty_image_is_refused():
    images, wide, _ = pair()
    with pytest.raises(ImageError, match="reverse-phase image is empty"):
        estimate_distortion(encoded(images[0], 1), encoded(images[1] * 0, -1), wide)


def test_a_wrong_phase_encoding_axis_gives_no_field():
    images, wide, _ = pair()
    assert not estimate_distortion(encoded(images[0], 1, axis=0), encoded(images[1], -1, axis=0), wide).proven


def test_a_reverse_image_on_another_grid_gives_the_same_field():
    images, wide, mask = pair(noise=4.0)
    step, offset = np.array([1.25, 1, 1.25]), np.array([1.5, 0, 1.0])
    shape = tuple((np.array(SHAPE) / step).astype(int))
    coarse = ndimage.affine_transform(images[1], step, offset, output_shape=shape, order=3)
    affine = np.diag([-2.0, 2, 2, 1]) @ np.block([[np.diag(step), offset[:, None]], [np.zeros(3), 1]])
    found = estimate_distortion(encoded(images[0], 1), encoded(coarse, -1, affine=affine), wide)
    assert found.proven
    assert np.median(np.abs(found.displacement - field())[mask]) < 0.15


def test_a_displaced_reverse_phase_image_gives_no_field():
    images, wide, _ = pair()
    far = np.diag([-2.0, 2, 2, 1])
    far[2, 3] = 500.0
    assert not estimate_distortion(encoded(images[0], 1), encoded(images[1], -1, affine=far), wide).proven
