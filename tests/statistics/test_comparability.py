"""Which runs have one method: labels, shells, the most common one, and what is said of the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bids_alps.statistics.comparability import find_comparable


def runs(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype=object)


def test_equal_methods_are_all_kept_without_a_word() -> None:
    found = find_comparable(runs(version=["1"] * 4, pose_correction=["true", True, "True", "TRUE"]))
    assert found.kept.all()
    assert not found.refused
    assert found.banner == ""
    assert (found.reasons == "").all()


def test_what_is_missing_is_one_value_of_its_own() -> None:
    found = find_comparable(runs(settings_hash=["a", "a", "a", "a", None, "", np.nan]))
    assert found.kept.tolist() == [True] * 4 + [False] * 3
    assert set(found.reasons[~found.kept]) == {"settings_hash n/a, others a"}
    assert "a in 4, n/a in 3" in found.banner


def test_the_most_common_method_is_kept_and_the_others_are_told() -> None:
    found = find_comparable(runs(version=["1", "2", "2", "2"], roi_radius=[2.5, 2.5, "2.5", 5.0]))
    assert found.kept.tolist() == [False, True, True, False]
    assert found.reasons.tolist() == ["version 1, others 2", "", "", "roi_radius 5, others 2.5"]
    assert "2 of 4 runs were processed with a different method" in found.banner
    assert "--pool-across roi_radius version." in found.banner
    assert not found.refused


@pytest.mark.parametrize(
    ("versions", "refused"), [(["1", "2", "3", "4"], True), (["1", "1", "2", "3"], False), (["1", "1", "2", "2"], True)]
)
def test_nothing_is_compared_where_no_method_has_half_of_the_runs(versions: list[object], refused: bool) -> None:
    found = find_comparable(runs(version=versions))
    assert found.refused is refused
    assert bool(found.kept.any()) is not refused


def test_what_may_differ_is_pooled_and_told() -> None:
    found = find_comparable(runs(version=["1", "2"], b_value=[1000, 1000]), pooled=["version", "b_value"])
    assert found.kept.all()
    assert found.banner == "Pooled with --pool-across although runs differ in version."


@pytest.mark.parametrize(
    ("b_values", "kept"),
    [
        ([1000, 1005, 1144, 995], [True, True, True, True]),
        ([1000, 1005, 1155, 995], [True, True, False, True]),
        ([1000, 1000, 1149, 995], [True, True, True, True]),
        ([1000, 1000, 1150, 995], [True, True, False, True]),
        ([1000, 1000, 2000, "n/a"], [True, True, False, False]),
    ],
)
def test_b_values_within_150_of_the_commonest_are_one_shell(b_values: list[object], kept: list[bool]) -> None:
    """Counted from the b-value with most neighbors: 1155 is 155 from 1000."""
    assert find_comparable(runs(b_value=b_values)).kept.tolist() == kept


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


def test_of_many_values_the_banner_lists_a_few() -> None:
    found = find_comparable(runs(version=[str(n) for n in range(400)]))
    assert "1 in 1" in found.banner
    assert "and 395 more values" in found.banner
    assert len(found.banner) < 500
