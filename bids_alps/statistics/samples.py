"""Two samples, independent or paired: test, estimate with its interval, effect size."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from bids_alps.model import Array

Test = Literal["rule", "welch", "student", "mann-whitney"]
LARGE = 30
RULE = (
    f"Welch's t-test where every group has {LARGE} values or more or passes Shapiro-Wilk (p >= 0.05), "
    "otherwise the Mann-Whitney test"
)
_MIN_VALUES = 3  # values required for a test of normality
EXACT = 50
"""Samples below this size have exact rank tests and intervals, as in R."""
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
_Z = float(stats.norm.ppf(0.975))


def to_floats(column: pd.Series[Any]) -> Array:
    """Return a column as floats; non-numeric values become NaN."""
    values: Array = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def code_covariate(column: pd.Series[Any]) -> Array:
    """Return a covariate as columns of a design, shape (n, m): floats as they are, categories as indicators but one."""
    if pd.api.types.is_float_dtype(column):
        return column.to_numpy(dtype=float)[:, None]
    indicators: Array = pd.get_dummies(column.astype(str), drop_first=True, dtype=float).to_numpy(dtype=float)
    return indicators


def choose_test(samples: list[Array], test: str = "rule") -> str:
    """Return ``welch`` or ``mann-whitney`` by `RULE`, or the requested test."""
    if test != "rule":
        return test
    return "welch" if all(_nearly_normal(values[np.isfinite(values)]) for values in samples) else "mann-whitney"


def _nearly_normal(values: Array) -> bool:
    if values.size >= LARGE:
        return True
    if values.size < _MIN_VALUES or np.ptp(values) == 0:
        return False
    return bool(stats.shapiro(values).pvalue >= 0.05)


def compare(a: Array, b: Array, *, test: str = "rule") -> dict[str, Any]:
    """Compare two independent samples.

    The estimate matches the test: the difference of means with the interval of the t-test, or the shift of Hodges &
    Lehmann 1963 (doi 10.1214/aoms/1177704172) with the interval that inverts the Mann-Whitney test.

    Parameters
    ----------
    a, b
        Values; NaN is omitted.
    test
        ``welch``, ``student``, ``mann-whitney``, or ``rule``: see `RULE`.

    Returns
    -------
    dict
        Counts, means and SDs, test, statistic, degrees of freedom, p, difference (b - a) with its 95 % interval, its
        kind, and Hedges' g with its interval. NaN if a sample has fewer than two values or there is no variance.

    Examples
    --------
    >>> found = compare(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0]), test="student")
    >>> found["difference"], round(found["hedges_g"], 3), round(found["p"], 4)
    (1.0, 0.798, 0.2879)
    """
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    counted: dict[str, Any] = {"n_a": a.size, "n_b": b.size}
    for name, values in (("a", a), ("b", b)):
        counted[f"mean_{name}"] = values.mean() if values.size else np.nan
        counted[f"sd_{name}"] = values.std(ddof=1) if values.size > 1 else np.nan
    spread = float(np.nan_to_num(counted["sd_a"]) + np.nan_to_num(counted["sd_b"]))
    if min(a.size, b.size) < 2 or spread == 0:
        return {**counted, "test": "none", "statistic": np.nan, "df": np.nan, "p": np.nan}
    test_name = choose_test([a, b], test)
    g, low, high = hedges_g(a, b)
    if test_name == "mann-whitney":
        tested = _mann_whitney(a, b)
    else:
        result = stats.ttest_ind(b, a, equal_var=test_name == "student")
        tested = _t_test(result, "mean difference", "difference", float(b.mean() - a.mean()))
    return {**counted, "test": test_name, **tested, "hedges_g": g, "hedges_g_ci_low": low, "hedges_g_ci_high": high}


def _t_test(result: Any, estimate: str, name: str, value: float) -> dict[str, Any]:
    """Return the row of a t-test, with its estimate in the column `name`."""
    interval = result.confidence_interval()
    return {
        "statistic": float(result.statistic),
        "df": float(result.df),
        "p": float(result.pvalue),
        "estimate": estimate,
        name: value,
        f"{name}_ci_low": float(interval.low),
        f"{name}_ci_high": float(interval.high),
    }


def _mann_whitney(a: Array, b: Array) -> dict[str, Any]:
    # the exact null distribution assumes that there are no ties
    exact = max(a.size, b.size) < EXACT and np.unique([*a, *b]).size == a.size + b.size
    result: Any = stats.mannwhitneyu(b, a, method="exact" if exact else "asymptotic")
    shift, low, high = find_shift(a, b)
    return {
        "statistic": float(result.statistic),
        "df": np.nan,
        "p": float(result.pvalue),
        "estimate": "median of differences",
        "difference": shift,
        "difference_ci_low": low,
        "difference_ci_high": high,
    }


def find_shift(a: Array, b: Array) -> tuple[float, float, float]:
    """Return the median of all differences b - a with the 95 % interval that inverts the Mann-Whitney test.

    Hodges & Lehmann 1963, doi 10.1214/aoms/1177704172; as R's ``wilcox.test(conf.int = TRUE)``. Differences are
    counted rather than listed, to save memory.
    """
    a, b = np.sort(a), np.sort(b)

    def count(value: float) -> float:
        # pairs with b - a below the value; pairs equal to it count one half
        below, up_to = (np.searchsorted(b, a + value, side).sum() for side in _SIDES)
        return float(below + up_to) / 2

    pairs = a.size * b.size
    if max(a.size, b.size) < EXACT:
        lost = _lost_ends(_mann_whitney_counts(a.size, b.size))
    else:
        # normal approximation: U has mean mn / 2 and variance mn (m + n + 1) / 12
        lost = max(round(pairs / 2 - _Z * np.sqrt(pairs * (a.size + b.size + 1) / 12)), 0)
    return _estimate_by_counting(count, pairs, lost, (float(b[0] - a[-1]), float(b[-1] - a[0])))


def _estimate_by_counting(
    count: Callable[[float], float], total: float, lost: int, span: tuple[float, float]
) -> tuple[float, float, float]:
    """Return the median, and the values of rank `lost` + 1 from each end, of values known by a counting function."""
    width = max(span[1] - span[0], 1e-12)
    ends = span[0] - 0.01 * width, span[1] + 0.01 * width

    def find(rank: float) -> float:
        found: Any = optimize.bisect(lambda value: count(value) - rank, *ends, xtol=1e-10 * width)
        return float(found)

    # quarters lie between the steps of the count: for even counts, the mean of the two central values
    middle = (find(total / 2 - 0.25) + find(total / 2 + 0.25)) / 2
    return middle, find(lost + 0.25), find(total - lost - 0.25)


def _lost_ends(counts: Array) -> int:
    """Return the number of ordered values outside a 95 % interval at each end, from the counts of the statistic."""
    # the largest k with P(statistic <= k) < 0.025 under the null hypothesis
    return max(int(np.searchsorted(np.cumsum(counts) / counts.sum(), 0.025)) - 1, 0)


@cache
def _mann_whitney_counts(m: int, n: int) -> Array:
    """Return the null distribution of U as counts for U = 0 to mn (coefficients of the Gaussian binomial)."""
    counts = np.zeros(m * n + 1)
    counts[0] = 1
    for i in range(1, n + 1):
        # multiply by 1 - q^(m + i), then divide by 1 - q^i
        counts[m + i :] = counts[m + i :] - counts[: max(counts.size - m - i, 0)]
        for start in range(i):
            counts[start::i] = np.cumsum(counts[start::i])
    return counts


@cache
def _signed_rank_counts(n: int) -> Array:
    """Return the null distribution of the signed-rank statistic as counts for each sum of positive ranks."""
    counts = np.zeros(n * (n + 1) // 2 + 1)
    counts[0] = 1
    for rank in range(1, n + 1):
        # multiply by 1 + q^rank: the sign of each rank is positive or negative
        counts[rank:] = counts[rank:] + counts[:-rank]
    return counts


def hedges_g(a: Array, b: Array) -> tuple[float, float, float]:
    """Return Hedges' g of b against a with its 95 % interval (Hedges & Olkin 1985, doi 10.1016/C2009-0-03396-0)."""
    dof = a.size + b.size - 2
    pooled = np.sqrt(((a.size - 1) * a.var(ddof=1) + (b.size - 1) * b.var(ddof=1)) / dof)
    g = float((b.mean() - a.mean()) / pooled * small_sample_factor(dof))
    # sampling variance of the difference plus that of the pooled SD
    se = np.sqrt((a.size + b.size) / (a.size * b.size) + g**2 / (2 * (a.size + b.size)))
    return g, g - _Z * float(se), g + _Z * float(se)


def small_sample_factor(dof: float) -> float:
    """Return the bias correction of a standardized mean difference (Hedges 1981, doi 10.3102/10769986006002107)."""
    # logarithms, since the gamma function overflows above 171
    return float(np.exp(special.gammaln(dof / 2) - special.gammaln((dof - 1) / 2)) / np.sqrt(dof / 2))


def compare_pairs(a: Array, b: Array, *, test: str = "rule") -> dict[str, Any]:
    """Compare paired values of the same participants: paired t-test, or Wilcoxon's signed-rank test.

    Parameters
    ----------
    a, b
        Shape (n,), before and after; incomplete pairs are excluded and counted.
    test
        ``welch`` or ``student`` for the t-test, ``mann-whitney`` for Wilcoxon's, ``rule``: the t-test with 30 or more
        pairs or if the differences pass Shapiro-Wilk (p >= 0.05).

    Returns
    -------
    dict
        ``n_pairs``, ``n_incomplete``, means, change (b - a) with its 95 % interval, test, statistic, df, p, and
        Cohen's d of the changes, corrected for small samples (Lakens 2013, doi 10.3389/fpsyg.2013.00863).
    """
    complete = np.isfinite(a) & np.isfinite(b)
    some = np.isfinite(a) | np.isfinite(b)
    a, b = a[complete], b[complete]
    change, n = b - a, int(complete.sum())
    numbers: dict[str, Any] = {"n_pairs": n, "n_incomplete": int(some.sum()) - n}
    numbers |= {"mean_a": a.mean() if n else np.nan, "mean_b": b.mean() if n else np.nan}
    if n < 2 or np.ptp(change) == 0:
        return {**numbers, "test": "none", "statistic": np.nan, "df": np.nan, "p": np.nan}
    if choose_test([change], test) == "mann-whitney":
        tested = _signed_rank(change)
    else:
        result = stats.ttest_1samp(change, 0.0)
        tested = {"test": "paired t", **_t_test(result, "mean change", "change", float(change.mean()))}
    d = float(change.mean() / change.std(ddof=1)) * (small_sample_factor(n - 1) if n > 2 else 1.0)
    # sampling variance of a standardized mean change (Borenstein 2009, doi 10.1002/9780470743386)
    reach = _Z * float(np.sqrt(1 / n + d**2 / (2 * n)))
    return {**numbers, **tested, "effect": d, "effect_ci_low": d - reach, "effect_ci_high": d + reach}


def _signed_rank(change: Array) -> dict[str, Any]:
    result: Any = stats.wilcoxon(change)
    n, ordered = change.size, np.sort(change)

    def count(value: float) -> float:  # number of Walsh averages (including each change with itself) below a value
        pairs_below, own_below = (
            sum(np.searchsorted(ordered, at, side).sum() for side in _SIDES)
            for at in (2 * value - ordered, np.array([value]))
        )
        return float(pairs_below + own_below) / 4

    pairs = n * (n + 1) / 2
    if n < EXACT:
        lost = _lost_ends(_signed_rank_counts(n))
    else:
        # normal approximation: the signed-rank sum has variance n (n + 1) (2n + 1) / 24
        lost = max(round(pairs / 2 - _Z * np.sqrt(n * (n + 1) * (2 * n + 1) / 24)), 0)
    middle, low, high = _estimate_by_counting(count, pairs, lost, (float(ordered[0]), float(ordered[-1])))
    return {
        "test": "Wilcoxon",
        "statistic": float(result.statistic),
        "df": np.nan,
        "p": float(result.pvalue),
        "estimate": "median of changes",  # Hodges-Lehmann: median of the Walsh averages
        "change": middle,
        "change_ci_low": low,
        "change_ci_high": high,
    }
