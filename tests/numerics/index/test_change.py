"""What of the uncertainty of an index is left in its change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_alps.model import Interval
from bids_alps.numerics.index.change import Sensitivity, measure_change, measure_sensitivity

SIDES = ("left", "right", "bilateral")
NAMES = tuple(f"{region}_{side}" for region in ("projection", "association") for side in SIDES[:2])


def tensor(xx: float, yy: float, zz: float) -> np.ndarray:
    return np.array([xx, 0, 0, yy, 0, zz])


def answer(
    alps: float = 1.5, *, noise: float = 0.03, place: float = 0.02, own: float = 0.004, seed: int = 1
) -> Sensitivity:
    rng = np.random.default_rng(seed)
    return Sensitivity(
        alps=dict.fromkeys(SIDES, alps),
        noise=dict.fromkeys(SIDES, noise),
        placement=dict.fromkeys(SIDES, place * rng.standard_normal(2000)),
        pose=dict.fromkeys(SIDES, place * rng.standard_normal(2000)),
        alignment=dict.fromkeys(SIDES, own),
        resolution=dict.fromkeys(SIDES, -0.02),
    )


def test_shared_errors_cancel_for_equal_sensitivity() -> None:
    change = measure_change(answer(), answer(), "left")
    assert (change.difference, change.se_placement, change.se_pose, change.se_resolution) == (0, 0, 0, 0)
    assert change.se_noise == pytest.approx(1.5 * 0.03 * np.sqrt(2))
    assert change.se == pytest.approx(1.5 * np.sqrt(2 * 0.03**2 + 2 * 0.004**2))


def test_independent_errors_add_in_quadrature() -> None:
    change = measure_change(answer(seed=1), answer(seed=2), "left")
    assert change.se_placement == pytest.approx(1.5 * 0.02 * np.sqrt(2), rel=0.05)


@given(st.floats(0.8, 2.2), st.floats(0.8, 2.2))
def test_reversing_the_sessions_negates_the_change(one: float, other: float) -> None:
    there = measure_change(answer(one), answer(other, seed=2), "bilateral")
    back = measure_change(answer(other, seed=2), answer(one), "bilateral")
    assert there.difference == -back.difference
    assert there.se == pytest.approx(back.se)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.high - there.low == pytest.approx(2 * 1.959964 * there.se)


def test_equal_scans_share_displacements_and_rotations() -> None:
    def placed(offsets: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Regions whose diffusivity across rises by a tenth for each mm that they are displaced along x."""
        shift = {name: 1 + 0.1 * float(offsets.get(name, np.zeros(3))[0]) for name in NAMES}
        return {
            name: tensor(0.6e-3 * shift[name], *((0.4e-3, 1.1e-3) if "proj" in name else (1.1e-3, 0.4e-3)))
            for name in NAMES
        }

    interval = Interval(low=1.4, high=1.6, se=0.05, se_noise=0.03, se_placement=0.02, se_pose=0.01)
    intervals = dict.fromkeys(SIDES, interval)
    errors: Any = ((0.5, 1.0), (0.1, 0.1))
    one, other = (measure_sensitivity(intervals, placed, errors, placed({}), seed=7) for _ in range(2))
    assert np.std(one.placement["left"]) > 0.02
    change = measure_change(one, other, "left")
    assert (change.difference, change.se_placement, change.se_pose) == (0, 0, 0)
    assert one.alignment["left"] == pytest.approx(np.std(one.placement["left"]) / 5, rel=0.5)
    assert one.noise["left"] == pytest.approx(0.03 / 1.5)
    assert one.resolution["left"] == 0
