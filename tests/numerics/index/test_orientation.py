"""Rotation shared by all tracts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bids_alps.numerics.index.orientation import shared_rotation

MIRROR = np.array([-1.0, 1, 1])
ANATOMY = {"projection": np.array([0.12, -0.1, 0.98]), "association": np.array([0.08, 0.98, -0.12])}
tilts = st.floats(-20, 20)


def head(anatomy=ANATOMY):
    """Directions of a symmetric head."""
    sides = {f"{name}_left": direction for name, direction in anatomy.items()}
    return sides | {f"{name}_right": direction * MIRROR for name, direction in anatomy.items()}


def rotated(directions, axis, degrees):
    rotation = Rotation.from_rotvec(np.radians(degrees) * np.eye(3)[axis])
    return {name: rotation.apply(direction) for name, direction in directions.items()}


@given(axis=st.integers(0, 2), degrees=st.floats(-40, 40))
def test_the_rotation_of_straight_tracts_is_found(axis, degrees):
    straight = head({"projection": np.array([0.0, 0, 1]), "association": np.array([0.0, 1, 0])})
    assert shared_rotation(rotated(straight, axis, degrees)) == pytest.approx(abs(degrees), abs=1e-9)


@given(roll=tilts, yaw=tilts)
def test_tilts_that_mirror_are_no_rotation(roll, yaw):
    a, b = np.tan(np.radians([roll, yaw]))
    assert shared_rotation(head({"projection": np.array([a, 0, 1]), "association": np.array([b, 1, 0])})) == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_tracts_of_one_hemisphere_may_tilt(axis):
    straight = head({"projection": np.array([0.0, 0, 1]), "association": np.array([0.0, 1, 0])})
    one = {name: value for name, value in rotated(straight, axis, 30).items() if name.endswith("left")}
    assert shared_rotation(straight | one) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [-21, 21])
def test_a_table_in_scanner_axes_shows_through_the_anatomy(axis, degrees):
    assert shared_rotation(head()) < 2
    assert 12 < shared_rotation(rotated(head(), axis, degrees)) < 25


def test_signs_of_directions_do_not_matter():
    turned = rotated(head(), 0, 15)
    flipped = {name: -value for name, value in turned.items()}
    assert shared_rotation(flipped) == shared_rotation(turned)


def test_a_missing_region_gives_no_value():
    assert np.isnan(shared_rotation({name: value for name, value in head().items() if name != "projection_left"}))
