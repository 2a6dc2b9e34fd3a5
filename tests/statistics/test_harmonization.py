"""Laws of ComBat, and refused data."""

import numpy as np
import pandas as pd
import pytest

from bids_alps.errors import BadDataError
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.harmonization import harmonize, harmonize_table
from bids_alps.statistics.plan import Plan
from bids_alps.statistics.repeats import find_visits
from bids_alps.statistics.sites import _protected, warn_of_sites
from bids_alps.statistics.variables import Variable


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(5)
    sites = np.repeat(["a", "b"], 60)
    group = np.tile([0.0, 1.0], 60)[:, None]
    clean = 1.5 - 0.2 * group + rng.normal(0, 0.1, (120, 6))
    moved = np.where((sites == "b")[:, None], 1.5 * (clean - 1.5) + 1.8, clean)
    return moved, sites, group


def test_site_effects_are_removed_and_group_effects_kept(made):
    values, sites, group = made
    found = harmonize(values, sites, group)
    apart = found[sites == "b"].mean(axis=0) - found[sites == "a"].mean(axis=0)
    assert abs(apart.mean()) < 0.005
    assert np.abs(apart).max() < 0.05  # two standard errors: shrinkage leaves what chance explains of 0.3
    ratio = found[sites == "b"].std(axis=0) / found[sites == "a"].std(axis=0)
    assert 1 < ratio.mean() < 1.3  # of 1.5: variances are shrunk towards each other
    effect = found[group[:, 0] == 1].mean(axis=0) - found[group[:, 0] == 0].mean(axis=0)
    assert effect.mean() == pytest.approx(-0.25, abs=0.02)  # -0.2 at one site, -0.3 at the other


def test_units_and_order_do_not_matter(made):
    values, sites, group = made
    found = harmonize(values, sites, group)
    np.testing.assert_allclose(harmonize(1e-3 * values, sites, group), 1e-3 * found, rtol=1e-6)
    order = np.random.default_rng(0).permutation(len(sites))
    np.testing.assert_allclose(harmonize(values[order], sites[order], group[order]), found[order], rtol=1e-6)


def test_impossible_harmonization_is_refused(made):
    values, sites, group = made
    with pytest.raises(BadDataError, match="collinear"):
        harmonize(values, sites, (sites == "a").astype(float)[:, None])
    with pytest.raises(BadDataError, match="site c has 2"):
        harmonize(values, np.where(np.arange(120) < 2, "c", sites), group)
    with pytest.raises(BadDataError, match="1 site"):
        harmonize(values, np.full(120, "a"), group)


def test_results_equal_a_published_implementation(made):
    found = harmonize(*made)  # expected values are those of neuroCombat 0.2.12 for the same input
    np.testing.assert_allclose(found[0, :3], [1.5230511, 1.4585474, 1.5803095], atol=1e-6)
    np.testing.assert_allclose(found[-1, :3], [1.3049025, 1.5119535, 1.5217118], atol=1e-6)


def table_of(sites: list[str], visits: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"participant_id": f"sub-{n}", "site": site, "session_id": f"ses-{k}", "a": rng.normal(), "b": rng.normal()}
        for n, site in enumerate(sites)
        for k in range(visits)
    ]
    return pd.DataFrame(rows)


def test_participants_of_a_site_are_counted_not_their_runs() -> None:
    with pytest.raises(BadDataError, match="site b has 2 participants"):
        harmonize_table(table_of(["a"] * 10 + ["b"] * 2, 3), ["a", "b"], "site", [])


def test_visits_and_variables_of_every_formula_are_protected() -> None:
    runs = table_of(["a", "b"] * 10, 2).assign(score=lambda all_: np.arange(len(all_), dtype=float))
    visits = find_visits(runs)
    plan = Plan(site="site", formulas=("a ~ nosuch | x", "a ~ score"))
    assert _protected(visits.runs, plan, ["site", "a", "b"]) == ["_visit", "score"]


def test_a_site_that_changes_within_participants_is_announced() -> None:
    runs = table_of(["a", "b"] * 10, 2)
    runs.loc[runs["session_id"] == "ses-1", "site"] = "c"
    plan = Plan(variables=(Variable(name="site", kind="category", decided_by="its name"),))
    findings = Findings()
    warn_of_sites(find_visits(runs).runs, plan, findings, "session")
    assert "site changes within 20 of 20 participants" in findings.banners[0]


@pytest.mark.parametrize(("sites", "outcomes"), [(1, 3), (2, 1), (1, 1)])
def test_one_site_or_one_outcome_is_refused(sites, outcomes):
    values = np.random.default_rng(1).normal(size=(12, outcomes))
    names = np.array([f"site{n % sites}" for n in range(12)])
    with pytest.raises(BadDataError, match=f"{sites} site and {outcomes} outcomes"):
        harmonize(values, names, np.ones((12, 1)))


def test_a_treatment_given_by_the_session_does_not_prevent_harmonization() -> None:
    runs = table_of(["a", "b"] * 10, 2)
    runs = runs.assign(treatment=runs["session_id"].map({"ses-0": "off", "ses-1": "on"}))
    both, _ = harmonize_table(runs, ["a", "b"], "site", ["treatment", "session_id"])
    one, _ = harmonize_table(runs, ["a", "b"], "site", ["treatment"])
    np.testing.assert_allclose(both[["a", "b"]], one[["a", "b"]])
