"""A measured field corrects its own distortion, and a wrong one is not applied."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from bids_alps.errors import ImageError
from bids_alps.model import SpatialMap
from bids_alps.numerics.preprocessing.distortion import EncodedImage
from bids_alps.numerics.preprocessing.measured_field import (
    MeasuredField,
    difference_of_phases,
    estimate_from_field,
    field_from_phase_difference,
    phase_in_radians,
    unwrap,
)

pytestmark = pytest.mark.medium

SHAPE, AFFINE, READOUT = (44, 52, 32), np.diag([-3.0, 3, 3, 1]), 0.05


@cache
def head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A b=0 image, a magnitude image with another contrast, and the head mask."""
    places = (np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(SHAPE) / 2) / (np.array(SHAPE) * 0.42)
    inside = (places**2).sum(-1) < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 1.6)
    tissue = np.digitize(texture / texture.std(), [-0.6, 0.6])
    image = np.choose(tissue, [900.0, 600, 400]) * inside
    magnitude = np.choose(tissue, [300.0, 520, 610]) * inside
    return ndimage.gaussian_filter(image, 0.7), ndimage.gaussian_filter(magnitude, 0.7), inside


@cache
def true_hertz(size: float = 50.0) -> np.ndarray:
    places = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array([22, 38, 12])
    return size * np.exp(-((places / np.array([9, 9, 8])) ** 2).sum(-1) / 2)


def distorted(polarity: int = 1, size: float = 50.0) -> EncodedImage:
    """The image as its readout displaces it: signal of a voxel is seen f x readout voxels further on."""
    shift = true_hertz(size) * READOUT * polarity
    seen = np.indices(SHAPE).astype(float)
    source = seen.copy()
    for _ in range(30):
        source[1] = seen[1] - ndimage.map_coordinates(shift, source, order=1)
    dilution = 1 / (1 + ndimage.map_coordinates(np.gradient(shift, axis=1), source, order=1))
    data = ndimage.map_coordinates(head()[0], source, order=1) * dilution
    noise = np.random.default_rng(1).normal(scale=10, size=SHAPE)
    return EncodedImage(data=np.abs(data + noise), affine=AFFINE, phase_axis=1, polarity=polarity, readout=READOUT)


def field_of(hertz: np.ndarray) -> MeasuredField:
    here = SpatialMap(data=head()[1], affine=AFFINE)
    return MeasuredField(
        hertz=here.like(np.where(head()[2], hertz, 0)), magnitude=here, inside=head()[2], method="measured field"
    )


@pytest.mark.parametrize("polarity", [1, -1])
def test_a_field_corrects_its_own_displacement(polarity: int) -> None:
    found = estimate_from_field(distorted(polarity), head()[2], field_of(true_hertz() + 80))  # whatever its mean
    assert found.proven, found.reason
    error = (found.displacement - polarity * READOUT * true_hertz())[head()[2]]
    assert np.percentile(np.abs(error - np.median(error)), 95) < 0.25
    assert found.difference_after < found.difference_before


@pytest.mark.parametrize(
    "wrong",
    [lambda hertz: -hertz, lambda hertz: hertz[:, ::-1], lambda hertz: 3 * hertz, lambda hertz: 0 * hertz],
    ids=["reversed", "mirrored", "three times", "nothing"],
)
def test_a_wrong_field_is_not_applied(wrong) -> None:
    found = estimate_from_field(distorted(), head()[2], field_of(wrong(true_hertz())))
    assert not found.proven
    assert found.reason.endswith("not applied")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"readout": None}, "TotalReadoutTime missing"),
        ({"polarity": 0}, "PhaseEncodingDirection missing"),
        ({"polarity": 0, "readout": None}, "PhaseEncodingDirection and TotalReadoutTime missing"),
    ],
)
def test_a_field_needs_readout_and_polarity(change, words) -> None:
    with pytest.raises(ImageError, match=words):
        estimate_from_field(replace(distorted(), **change), head()[2], field_of(true_hertz()))


@pytest.mark.parametrize(
    ("stored", "units"),
    [
        (lambda radians: np.round(radians * 4096 / np.pi), ""),
        (lambda radians: np.round((radians + np.pi) * 4095 / (2 * np.pi)), "arbitrary"),
        (lambda radians: radians, "rad"),
        (lambda radians: np.round(radians * 1000), ""),
        (lambda radians: radians * 77, ""),
    ],
    ids=["-4096 to 4096", "0 to 4095", "radians", "milliradians", "another range"],
)
def test_phases_are_read_in_the_units_of_scanners(stored, units) -> None:
    radians = np.linspace(-np.pi, np.pi, 500)
    np.testing.assert_allclose(phase_in_radians(stored(radians), units=units), radians, atol=3e-3)


def test_a_phase_range_below_pi_is_not_rescaled() -> None:
    radians = np.linspace(-0.9, 2.2, 100)
    np.testing.assert_allclose(phase_in_radians(np.round(radians * 4096 / np.pi)), radians, atol=1e-3)


def test_a_phase_without_contrast_is_refused() -> None:
    with pytest.raises(ImageError, match="every value is 7"):
        phase_in_radians(np.full(5, 7.0))


def test_phases_are_unwrapped_and_converted_to_hertz() -> None:
    hertz = true_hertz(400.0)
    first, second = (np.angle(np.exp(2j * np.pi * hertz * echo)) for echo in (0.005, 0.0075))
    difference = difference_of_phases(first, second)
    found = field_from_phase_difference(difference, head()[2], echo_difference_s=0.0025)
    np.testing.assert_allclose(found[head()[2]], hertz[head()[2]], atol=1e-6)
    assert not found[~head()[2]].any()
    with pytest.raises(ImageError, match="echoes are 0 s apart"):
        field_from_phase_difference(difference, head()[2], echo_difference_s=0.0)


def test_unwrapping_leaves_the_median_near_zero() -> None:
    phase = true_hertz() / 10 + 14 * np.pi
    found = unwrap(phase, head()[2])
    assert abs(np.median(found[head()[2]])) <= np.pi
