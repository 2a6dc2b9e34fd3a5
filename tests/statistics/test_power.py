"""Sizes of new studies against R 4.2.2: ``power.t.test(delta = 0.5, power = .8)$n`` and so on, rounded up."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_alps.statistics.power import required_group_size, required_group_sizes


@pytest.mark.parametrize(
    ("effect", "alpha", "power", "size"),
    [  # of R: 252.128, 63.766, 14.002, 3.762, 33.826, 224.343, 261.196
        (0.25, 0.05, 0.8, 253),
        (0.5, 0.05, 0.8, 64),
        (-1.1, 0.05, 0.8, 15),
        (2.5, 0.05, 0.8, 4),
        (0.8, 0.05, 0.9, 34),
        (0.4, 0.01, 0.95, 225),
        (0.3, 0.01, 0.8, 262),
    ],
)
def test_group_sizes_equal_r(effect, alpha, power, size):
    assert required_group_size(effect, alpha=alpha, power=power) == size


@pytest.mark.parametrize("effect", [0.02, 0.3, 0.7, 1.5])
def test_the_group_size_is_the_smallest_with_the_power(effect):
    def power_of(n):
        """Of a two-sided t-test, by the noncentral t-distribution."""
        dof, shift = 2 * n - 2, effect * np.sqrt(n / 2)
        limit = stats.t.ppf(0.975, dof)
        return stats.nct.sf(limit, dof, shift) + stats.nct.cdf(-limit, dof, shift)

    size = required_group_size(effect)
    assert power_of(size) >= 0.8 > power_of(size - 1)


def test_without_an_effect_there_is_no_group_size():
    assert np.isnan([required_group_size(effect) for effect in (0.0, 0.0099, -0.0099, np.nan, np.inf)]).all()
    assert required_group_size(0.01) > 100_000


def test_the_conservative_effect_is_the_limit_nearer_zero():
    comparison = pd.DataFrame(
        {
            "outcome": ["a", "b", "c"],
            "group_a": "control",
            "group_b": "patient",
            "hedges_g": [0.8, -0.8, 0.5],
            "hedges_g_ci_low": [0.5, -1.1, -0.1],
            "hedges_g_ci_high": [1.1, -0.5, 1.1],
        }
    )
    found = required_group_sizes(comparison)
    assert found["n_per_group"].tolist() == [26, 26, 64]
    assert found["n_per_group_conservative"].tolist()[:2] == [64, 64]
    assert np.isnan(found["n_per_group_conservative"][2])
    assert set(found["alpha"]) == {0.05}
    assert set(found["power"]) == {0.8}
    strict = required_group_sizes(comparison, alpha=0.01, power=0.9)
    assert strict["n_per_group"][2] == required_group_size(0.5, alpha=0.01, power=0.9) > 64
