"""Runs that may be compared."""

import pandas as pd

from bids_alps.statistics.comparability import find_comparable


def test_b_values_near_the_commonest_are_one_shell() -> None:
    found = find_comparable(pd.DataFrame({"b_value": [900.0] * 10 + [1000.0] * 60 + [1060.0] * 40}))
    assert found.kept.all()
    assert not found.banner
    others = find_comparable(pd.DataFrame({"b_value": [1000.0] * 60 + [1060.0] * 20 + [1150.0, 2000.0, 700.0]}))
    assert others.kept.sum() == 80
    assert "b = 1000 in 80" in others.banner


def test_half_of_the_runs_is_not_most_of_them() -> None:
    found = find_comparable(pd.DataFrame({"version": ["1"] * 10 + ["2"] * 10}))
    assert found.refused
    assert "none of which accounts for most of the runs" in found.banner


def test_measurements_in_different_spaces_are_not_pooled() -> None:
    found = find_comparable(pd.DataFrame({"frame": ["longitudinal"] * 10 + ["cross-sectional"] * 3}))
    assert found.kept.tolist() == [True] * 10 + [False] * 3
    assert "space of the regions" in found.banner
