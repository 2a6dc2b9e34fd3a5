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
        ([1000, 1000, 1149, 995], [True, True, True, True]),
        ([1000, 1000, 1150, 995], [True, True, False, True]),
        ([1000, 1000, 2000, "n/a"], [True, True, False, False]),
    ],
)
def test_b_values_within_150_are_one_shell(b_values: list[object], kept: list[bool]) -> None:
    """Counted from the most common value: 1150 is 150 above it, and begins another shell."""
    assert find_comparable(runs(b_value=b_values)).kept.tolist() == kept


def test_of_many_values_the_banner_lists_a_few() -> None:
    found = find_comparable(runs(version=[str(n) for n in range(400)]))
    assert "1 in 1" in found.banner
    assert "and 395 more values" in found.banner
    assert len(found.banner) < 500
