"""Figures for publication: size, bytes and embedded fonts."""

import re

import numpy as np
import pytest

from bids_alps.report import figures_papers as papers

POINTS_PER_MM = 72 / 25.4
RNG = np.random.default_rng(0)
VALUES = 1.5 + 0.1 * RNG.normal(size=12)
GROUPS = ["a", "b"] * 6
FIGURES = {
    "distribution": lambda: papers.draw_distribution({"left": VALUES, "right": VALUES}, GROUPS),
    "without groups": lambda: papers.draw_distribution({"left": np.r_[VALUES, np.nan]}, []),
    "sessions": lambda: papers.draw_sessions(
        {"1": {"a": 1.5, "b": 1.4}, "2": {"a": 1.6, "b": 1.5}, "3": {"b": 1}}, "ab"
    ),
    "age": lambda: papers.draw_age_curve(np.linspace(20, 80, 12), VALUES, GROUPS),
    "agreement": lambda: papers.draw_agreement(VALUES, VALUES - 0.05, ("alps", "alps.sh")),
}


@pytest.mark.slow
@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_figures_have_their_width_fonts_within_and_the_same_bytes_again(draw):
    drawn = draw()
    width, _ = map(float, re.search(rb'width="([\d.]+)pt" height="([\d.]+)pt"', drawn["svg"]).groups())
    assert width == pytest.approx(papers.SINGLE_COLUMN_MM * POINTS_PER_MM, abs=0.1)
    assert b"<text" not in drawn["svg"]  # letters are shapes
    assert b"/FontFile2" in drawn["pdf"]
    assert b"CreationDate" not in drawn["pdf"]
    assert draw() == drawn
