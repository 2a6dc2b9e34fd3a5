"""Group statistics compared with R (lmerTest, emmeans, metafor, psych, pROC, car) on the same data.

Needs ``Rscript`` with these packages (Debian: r-cran-lmertest, r-cran-emmeans, r-cran-metafor, r-cran-psych, r-cran-proc,
r-cran-car, r-cran-sandwich). The tests contain the same values as constants.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "statistics"))

from closed_forms import cohort, visits

from bids_alps.statistics.adjusted import compare_adjusted
from bids_alps.statistics.categories import compare_categories
from bids_alps.statistics.comparison import compare_groups
from bids_alps.statistics.discrimination import fit_odds, measure_auc
from bids_alps.statistics.models import fit_model
from bids_alps.statistics.multiplicity import add_corrected_p_values
from bids_alps.statistics.precision import fit_random_effects
from bids_alps.statistics.reliability import measure_icc
from bids_alps.statistics.samples import compare

SCRIPT = Path(__file__).parent / "r" / "agreement.R"


def ours() -> Iterator[tuple[str, float]]:
    """Yield the values that the R script prints, with the same names."""
    people = cohort()
    a, b = (people.loc[people["group"] == name, "y"].to_numpy() for name in ("control", "patient"))
    yield from _two_samples(a, b)
    yield from _groups(people)
    yield from _mixed()
    design = pd.DataFrame({"one": 1.0, "mild": people["group"] == "mild", "patient": people["group"] == "patient"})
    X = np.column_stack([design.to_numpy(dtype=float), people["age"]])
    weighted = fit_random_effects(people["y"].to_numpy(), X, people["y_se"].to_numpy())
    yield "random effects tau2", weighted.between
    yield "random effects patient", weighted.beta[2]
    yield "random effects se", float(np.sqrt(weighted.covariance[2, 2]))
    for row in measure_icc(scores()).to_dict("records"):
        for suffix, name in (("", "icc"), (" low", "ci_low"), (" high", "ci_high")):
            yield f"{row['kind']}{suffix}", row[name]
    area, se, _, _ = measure_auc(a, b)
    yield "AUC", max(area, 1 - area)
    yield "AUC se", se
    odds = fit_odds(people[people["group"] != "mild"], "y", "group", ["age", "sex"], reference="control")
    yield "logistic odds ratio", odds["odds_ratio"]
    yield "logistic p", odds["p"]


def scores() -> Any:
    """Return participants with all three visits, shape (participants, visits)."""
    return visits().pivot_table("y", "person", "visit").dropna().to_numpy()


def _two_samples(a: Any, b: Any) -> Iterator[tuple[str, float]]:
    welch, ranks = compare(a, b, test="welch"), compare(a, b, test="mann-whitney")
    yield "welch t", welch["statistic"]
    yield "welch df", welch["df"]
    yield "welch p", welch["p"]
    yield "student p", compare(a, b, test="student")["p"]
    yield "mann-whitney p", ranks["p"]
    yield "mann-whitney shift", ranks["difference"]
    yield "mann-whitney low", ranks["difference_ci_low"]
    yield "mann-whitney high", ranks["difference_ci_high"]


def _groups(people: pd.DataFrame) -> Iterator[tuple[str, float]]:
    for test, name in (("welch", "welch anova"), ("mann-whitney", "kruskal-wallis")):
        row = compare_groups(people, {"f": ["y"]}, "group", test=test)[0].iloc[0]
        if test == "welch":
            yield f"{name} F", row["statistic"]
        yield f"{name} p", row["p"]
    yield "chi-square p", compare_categories(people["sex"], people["group"])["p"]
    holm = add_corrected_p_values(pd.DataFrame({"p": [0.01, 0.04, 0.03]}))["p_holm"]
    yield from ((f"holm {n + 1}", value) for n, value in enumerate(holm))
    every, pairs, *_ = compare_adjusted(people, {"f": ["y"]}, "group", ["age", "sex", "site"])
    pair = pairs.set_index("group_b").loc["patient"].iloc[0]
    for name, column in (("difference", "difference"), ("low", "difference_ci_low"), ("high", "difference_ci_high")):
        yield f"adjusted {name}", pair[column]
    yield "adjusted p", pair["p"]
    yield "adjusted omnibus F", every["statistic"].iloc[0]
    yield "adjusted omnibus p", every["p"].iloc[0]


def _mixed() -> Iterator[tuple[str, float]]:
    names = {"group[T.patient]": "grouppatient", "time": "time", "group[T.patient]:time": "grouppatient:time"}
    for kind, random in (("mixed", ""), ("mixed slopes", " + (time | participant_id)")):
        found = fit_model(visits(), f"y ~ group * time + age{random}").coefficients.set_index("term")
        for term, name in names.items():
            for column in ("estimate", "se", "df", "p"):
                yield f"{kind} {name} {column}", found.loc[term, column]


def theirs() -> dict[str, float]:
    """Return the results of R for the same tables."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / name for name in ("cohort.csv", "visits.csv", "scores.csv")]
        for table, path in zip((cohort(), visits(), pd.DataFrame(scores())), paths, strict=True):
            table.to_csv(path, index=False, float_format="%.17g")
        done = subprocess.run(
            ["Rscript", "--vanilla", str(SCRIPT), *map(str, paths)], check=True, capture_output=True, text=True
        )
    pairs = (line.rpartition(",") for line in done.stdout.splitlines() if "," in line)
    return {name: float(value) for name, _, value in pairs}


def main() -> None:
    if shutil.which("Rscript") is None:
        print("no Rscript: nothing to compare with")
        return
    known = theirs()
    print(f"| {'quantity':36s} | {'bids-alps':>14s} | {'R':>14s} | relative difference |\n|---|---|---|---|")
    worst = 0.0
    for name, value in ours():
        if name in known:
            apart = abs(value - known[name]) / max(abs(known[name]), 1e-300)
            worst = max(worst, apart)
            print(f"| {name:36s} | {value:14.8g} | {known[name]:14.8g} | {apart:.0e} |")
    print(f"largest relative difference {worst:.1e}")


if __name__ == "__main__":
    main()
