"""Type I errors of the group level: how often each default analysis reports a difference without an effect.

Cohorts are simulated without an effect of the group (and none of the session); the fraction of p-values below 0.05 is printed with
its 95 % interval. A reliable analysis lies between 0.035 and 0.065.

    python benchmarks/bench_nulls.py [simulations] [word in the name of the analysis]
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bids_alps.statistics.adjusted import compare_adjusted
from bids_alps.statistics.comparison import compare_groups
from bids_alps.statistics.correlation import correlation
from bids_alps.statistics.group_design import design_groups
from bids_alps.statistics.harmonization import describe_imbalance, harmonize_table
from bids_alps.statistics.models import fit_model
from bids_alps.statistics.paired import WithinFactor, compare_changes, compare_within
from bids_alps.statistics.permutation import permute_groups
from bids_alps.statistics.samples import to_floats

INDICES = ["alps_bilateral", "alps_left", "alps_right"]
LOW, HIGH = 0.035, 0.065
DRAWS = 999

Simulation = Callable[[np.random.Generator], dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """One analysis of the group level: a cohort without an effect, and its p-values by name."""

    name: str
    simulate: Simulation


def people(rng: np.random.Generator, groups: Any, *, skew: bool = False, sites: Any = None) -> pd.DataFrame:
    """Return participants whose index depends on age, sex and site, not on the group."""
    n = len(groups)
    age, sex = rng.normal(50, 12, n), rng.random(n) < 0.5
    noise = rng.gamma(1.5, 1, (n, 3)) - 1.5 if skew else rng.normal(size=(n, 3))
    shared = noise[:, 0] * 0.12
    table = pd.DataFrame({"group": groups, "age": age, "sex": np.where(sex, "F", "M")})
    level = 1.55 - 0.005 * (age - 50) + 0.05 * sex + shared
    if sites is not None:
        table["site"] = sites
        level = level + pd.Series(sites).map({name: 0.08 * k for k, name in enumerate("abcdef")}).to_numpy()
    table["alps_left"], table["alps_right"] = level + 0.05 * noise[:, 1], level + 0.05 * noise[:, 2]
    table["alps_bilateral"] = (table["alps_left"] + table["alps_right"]) / 2
    return table


def adjusted(table: pd.DataFrame, covariates: list[str], names: list[str] = INDICES[:1]) -> pd.DataFrame:
    return compare_adjusted(table, {"index": names}, "group", covariates)[1]


def two_groups(sizes: tuple[int, int], *, skew: bool = False) -> Simulation:
    def simulate(rng: np.random.Generator) -> dict[str, float]:
        table = people(rng, np.repeat(["a", "b"], sizes), skew=skew)
        _, pairs = compare_groups(table, {"index": INDICES[:1]}, "group")
        return {
            "adjusted for age and sex (HC3)": adjusted(table, ["age", "sex"])["p"].iloc[0],
            "unadjusted (Welch or Mann-Whitney)": pairs["p"].iloc[0],
        }

    return simulate


def permuted(rng: np.random.Generator) -> dict[str, float]:
    table = people(rng, np.repeat(["a", "b"], (12, 25)))
    values = to_floats(table["alps_bilateral"])
    design = design_groups(table, "group", ["age", "sex"], outcome=values)
    observed, drawn = permute_groups(values[:, None], design, draws=DRAWS, seed=int(rng.integers(2**31)))
    return {"permutation (Freedman-Lane)": float((1 + (drawn[:, 0, 0] >= abs(observed[0, 0])).sum()) / (1 + DRAWS))}


def unequal_spread(rng: np.random.Generator) -> dict[str, float]:
    table = people(rng, np.repeat(["a", "b"], (15, 40)))
    few = (table["group"] == "a").to_numpy()
    table.loc[few, "alps_bilateral"] += rng.normal(0, 0.3, few.sum())
    classical = stats.ttest_ind(*(table.loc[table["group"] == name, "alps_bilateral"] for name in "ab")).pvalue
    return {
        "adjusted for age and sex (HC3)": adjusted(table, ["age", "sex"])["p"].iloc[0],
        "not recommended: Student's t": float(classical),
    }


def five_groups(rng: np.random.Generator) -> dict[str, float]:
    table = people(rng, np.repeat(list("abcde"), 15))
    every, pairs, *_ = compare_adjusted(table, {"index": INDICES}, "group", ["age", "sex"])
    unadjusted, raw = compare_groups(table, {"index": INDICES}, "group")
    return {
        "any of 30 pairs, adjusted, Holm": pairs["p_holm"].min(),
        "any of 30 pairs, adjusted, Bonferroni": pairs["p_bonferroni"].min(),
        "any of 30 pairs, unadjusted, Holm": raw["p_holm"].min(),
        "omnibus, adjusted (Wald F, HC3)": every["p"].iloc[0],
        "omnibus, unadjusted (Welch's ANOVA or Kruskal-Wallis)": unadjusted["p"].iloc[0],
        "not recommended: any of 30 pairs, not corrected": pairs["p"].min(),
    }


def mixed(count: int, terms: str = "") -> Simulation:
    def simulate(rng: np.random.Generator) -> dict[str, float]:
        person = np.repeat(np.arange(count), 3)
        time_ = np.tile(np.arange(3.0), count)
        slope = rng.normal(0, 0.05, count)[person] * time_ if "time |" in terms else 0.0
        y = 1.5 + rng.normal(0, 0.1, count)[person] + slope + rng.normal(0, 0.06, 3 * count)
        table = pd.DataFrame({"participant_id": person.astype(str), "time": time_, "y": y})
        table["group"] = np.where(person % 2, "b", "a")
        tests = fit_model(table, f"y ~ group * time{terms}").coefficients.set_index("term")["p"]
        alone = fit_model(table, f"y ~ group + time{terms}").coefficients.set_index("term")["p"]
        return {
            "group": alone["group[T.b]"],
            "time": alone["time"],
            "group by time": tests["group[T.b]:time"],
        }

    return simulate


def sites_unbalanced(shares: tuple[float, ...], size: int) -> Simulation:
    def simulate(rng: np.random.Generator) -> dict[str, float]:
        sites = np.repeat(list("abcd")[: len(shares)], size)
        groups = np.concatenate([np.where(np.arange(size) < round(share * size), "b", "a") for share in shares])
        table = people(rng, groups, sites=sites)
        for name in ("dxx", "dyy", "dzz"):
            table[name] = rng.normal(1, 0.1, len(table)) + 0.1 * (sites == "a")
        outcomes = [*INDICES, "dxx", "dyy", "dzz"]
        harmonized, _ = harmonize_table(table, outcomes, "site", ["group", "age", "sex"])
        return {
            "site in the model (default)": adjusted(table, ["age", "sex", "site"])["p"].iloc[0],
            "not recommended, banner: ComBat, then no site": adjusted(harmonized, ["age", "sex"])["p"].iloc[0],
            "ComBat, then site in the model too (default with --harmonize)": adjusted(
                harmonized, ["age", "sex", "site"]
            )["p"].iloc[0],
        }

    return simulate


def dropouts(rng: np.random.Generator) -> dict[str, float]:
    """Return p-values for dropout of low values before the second session, without any change."""
    n = 40
    level = 1.5 + rng.normal(0, 0.12, n)
    first, second = level + rng.normal(0, 0.06, n), level + rng.normal(0, 0.06, n)
    stays = rng.random(n) < np.where(level < 1.5, 0.4, 0.9)
    groups = np.where(np.arange(n) % 2, "b", "a")
    one = pd.DataFrame({"_person": np.arange(n).astype(str), "session": "1", "group": groups, "alps_bilateral": first})
    two = one.assign(session="2", alps_bilateral=second)[stays]
    table = pd.concat([one, two], ignore_index=True)
    asked = WithinFactor(factor="session", levels=("1", "2"), group="group")
    _, pairs = compare_within(table, {"index": INDICES[:1]}, asked)
    apart = compare_changes(table, {"index": INDICES[:1]}, asked)
    naive: Any = stats.ttest_ind(first, second[stays], equal_var=False)
    return {
        "change, complete pairs": pairs[pairs["group"] == "all"]["p"].iloc[0],
        "difference of change between groups": apart["p"].iloc[0],
        "not done: Welch between sessions": float(naive.pvalue),
    }


def weighted(rng: np.random.Generator) -> dict[str, float]:
    table = people(rng, np.repeat(["a", "b"], (20, 20)))
    se = rng.uniform(0.02, 0.15, 40)
    table["alps_bilateral"] += rng.normal(0, se)
    table["alps_bilateral_se"] = se
    found = compare_adjusted(table, {"index": INDICES[:1]}, "group", ["age", "sex"], precision=True)[1]
    return {"weights by precision": found["p"].iloc[0]}


def correlated(rng: np.random.Generator) -> dict[str, float]:
    table = people(rng, np.repeat(["a", "b"], 20))
    score = rng.normal(size=40)
    shifted = score + 2 * (table["group"] == "b")
    y = to_floats(table["alps_bilateral"]) + 0.15 * (table["group"] == "b").to_numpy()
    inside = (table["group"] == "b").to_numpy(dtype=float)[:, None]
    return {
        "within groups": correlation(y, shifted.to_numpy(), covariates=inside)["p"],
        "not recommended: groups pooled that differ in both": correlation(y, shifted.to_numpy())["p"],
    }


PATHS = (
    Path(name="two groups, 20 + 20", simulate=two_groups((20, 20))),
    Path(name="two groups, 8 + 8", simulate=two_groups((8, 8))),
    Path(name="two groups, 15 + 40, skewed", simulate=two_groups((15, 40), skew=True)),
    Path(name="two groups, 15 + 40, the small one scatters more", simulate=unequal_spread),
    Path(name="two groups, 12 + 25", simulate=permuted),
    Path(name="two groups, 20 + 20, errors of measurement known", simulate=weighted),
    Path(name="five groups of 15, three indices", simulate=five_groups),
    Path(name="mixed model, 8 people x 3", simulate=mixed(8)),
    Path(name="mixed model, 10 people x 3", simulate=mixed(10)),
    Path(name="mixed model, 16 people x 3", simulate=mixed(16)),
    Path(name="mixed model, 16 people x 3, random slopes", simulate=mixed(16, " + (time | participant_id)")),
    Path(name="three sites of 30, patients 0.8/0.5/0.2", simulate=sites_unbalanced((0.8, 0.5, 0.2), 30)),
    Path(name="four sites of 20, patients 0.9/0.9/0.1/0.1", simulate=sites_unbalanced((0.9, 0.9, 0.1, 0.1), 20)),
    Path(name="two sessions, low values drop out", simulate=dropouts),
    Path(name="correlation, 20 + 20", simulate=correlated),
)


def run(path: Path, simulations: int) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each p-value, the number below 0.05, and their total."""
    found: dict[str, list[float]] = {}
    with warnings.catch_warnings(action="ignore"):
        for seed in range(simulations):
            for name, p in path.simulate(np.random.default_rng([seed, 77])).items():
                found.setdefault(name, []).append(float(p))
    for name, values in found.items():
        known = np.array([p for p in values if np.isfinite(p)])
        yield name, int((known < 0.05).sum()), known.size


def judge(rate: float) -> str:
    """Return the verdict on a type I error rate."""
    return "ok" if LOW <= rate <= HIGH else "conservative" if rate < LOW else "TOO MANY"


def main() -> None:
    simulations = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    imbalance = describe_imbalance(
        pd.DataFrame({"site": list("aabb"), "group": list("xxyy")}), "site", "group"
    )  # the banner's measure, 1 for sites of one group each
    print(f"{simulations} simulated nulls a path; Cramer's V of sites of one group each: {imbalance[0]:.2f}")
    chosen = [path for path in PATHS if len(sys.argv) < 3 or sys.argv[2] in path.name]
    for path in chosen:
        began = time.process_time()
        for name, hits, count in run(path, simulations):
            rate = hits / count
            low, high = stats.binomtest(hits, count).proportion_ci(method="wilson")
            verdict = "" if name.startswith("not ") else f" {judge(rate)}"
            print(f"{path.name:52s} {name:64s} {rate:.3f} ({low:.3f} to {high:.3f}, n = {count}){verdict}", flush=True)
        print(f"{'':52s} {time.process_time() - began:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
