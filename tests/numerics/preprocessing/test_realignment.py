"""Steps of realignment whose answer is known: eddy currents that are linear in the gradient."""

# mypy: disable-error-code="arg-type, attr-defined, assignment, comparison-overlap, unused-ignore"
# minimal stand-ins for the objects of the package

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bids_alps.numerics.preprocessing.realignment import MotionState, keep_linear_eddy_terms
from bids_alps.numerics.preprocessing.volume_motion import no_motion

PHASE = np.array([0.0, 1, 0])


def series_and_state(bvecs: np.ndarray, eddy: np.ndarray, along: np.ndarray) -> tuple[Any, MotionState]:
    """Volumes with eddy terms and shifts along phase encoding, one b=0 volume first."""
    number = 1 + len(bvecs)
    rest = no_motion(np.zeros(3), PHASE, terms=3)
    motion = [rest, *(rest.step(np.r_[np.zeros(3), s * PHASE, e]) for s, e in zip(along, eddy, strict=True))]
    bvals = np.r_[0.0, np.full(len(bvecs), 1000.0)]
    series = SimpleNamespace(bvals=bvals, bvecs=np.r_[np.zeros((1, 3)), bvecs], weighted=bvals > 0, direction=PHASE)
    state = MotionState(
        motion=tuple(motion),
        usable=np.ones(number, dtype=bool),
        outliers=np.zeros((number, 4), dtype=bool),
        correlation=np.ones(number),
    )
    return series, state


def directions(number: int) -> np.ndarray:
    bvecs = np.random.default_rng(1).normal(size=(number, 3))
    return bvecs / np.linalg.norm(bvecs, axis=1, keepdims=True)


SLOPES = np.array([[2e-3, -1e-3, 0], [0, 3e-3, 1e-3], [1e-3, 0, -2e-3]])


@pytest.mark.parametrize(("number", "shifted"), [(6, False), (9, False), (10, True), (30, True)])
def test_of_eddy_terms_the_linear_part_stays_and_what_is_common_goes(number: int, shifted: bool) -> None:
    bvecs = directions(number)
    eddy, along = bvecs @ SLOPES + 5e-3, bvecs @ [0.4, -0.2, 0.1] + 1.5
    found, shift = keep_linear_eddy_terms(*series_and_state(bvecs, eddy, along))
    np.testing.assert_allclose([motion.eddy for motion in found.motion[1:]], bvecs @ SLOPES, atol=1e-12)
    np.testing.assert_allclose(shift[1:], bvecs @ [0.4, -0.2, 0.1] if shifted else 0, atol=1e-12)
    assert shift[0] == 0
    np.testing.assert_allclose([motion.translation @ PHASE for motion in found.motion[1:]], along)


@pytest.mark.parametrize("case", ["five directions", "directions of a plane"])
def test_too_few_or_flat_directions_change_nothing(case: str) -> None:
    bvecs = directions(5 if case == "five directions" else 20)
    if case == "directions of a plane":
        bvecs[:, 2] *= 1e-3
        bvecs /= np.linalg.norm(bvecs, axis=1, keepdims=True)
    series, state = series_and_state(bvecs, bvecs @ SLOPES + 5e-3, np.zeros(len(bvecs)))
    found, shift = keep_linear_eddy_terms(series, state)
    assert found is state
    assert not shift.any()
