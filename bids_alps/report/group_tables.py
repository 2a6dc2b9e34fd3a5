"""Tables of results for the group page: estimates with intervals in one cell, readable names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bids_alps.report.group_format import (
    UNIT,
    Row,
    capitalize,
    format_interval,
    format_p,
    format_value,
    is_diffusivity,
    join_names,
    number_or_dash,
    outcome_label,
)
from bids_alps.report.html import words
from bids_alps.report.page import Table
from bids_alps.statistics.multiplicity import CORRECTED
from bids_alps.statistics.plan import PRIMARY_OUTCOME

SHOWN = 40
CORRECTION = "Holm"
_HEADINGS = {
    "auc": "AUC",
    "auc_se": "SE of the AUC",
    "ci_high": "95 % CI high",
    "ci_low": "95 % CI low",
    "df": "df",
    "df_error": "df error",
    "group_a": "A",
    "group_b": "B",
    "hedges_g": "Hedges' g",
    "icc": "ICC",
    "n_excluded": "Rows excluded",
    "limit_high": "Upper limit of agreement",
    "limit_low": "Lower limit of agreement",
    "measurement_error_fraction": "Fraction of measurement error",
    "n": "n",
    "n_a": "n (A)",
    "n_b": "n (B)",
    "n_per_group": "n per group",
    "n_per_group_conservative": "n per group (lower limit of effect)",
    "p": "p",
    "p_bonferroni": "p (Bonferroni)",
    "p_equivalence": "p (equivalence)",
    "p_fdr": "p (FDR)",
    "p_holm": "p (Holm)",
    "r2": "R²",
    "r2_adjusted": "R² adjusted",
    "sd": "SD",
    "sd_between": "SD between participants",
    "sd_measurement": "SD of measurement error",
    "within_subject_cv": "Within-subject CV",
}


def split_families(rows: Sequence[Row]) -> tuple[list[Row], dict[str, list[Row]]]:
    """Return the rows of the index, bilateral first, and those of the other families by title."""
    indices = sorted(
        (row for row in rows if row["family"] == "index"), key=lambda row: row["outcome"] != PRIMARY_OUTCOME
    )
    titles = {"diffusivity": "Diffusivities", "atlas": "Atlas regions"}
    others = {title: [row for row in rows if row["family"] == family] for family, title in titles.items()}
    return indices, {title: family_rows for title, family_rows in others.items() if family_rows}


def pairs_table(rows: Sequence[Row], title: str, *, with_unadjusted: bool = False) -> Table:
    """Return a table of differences; `with_unadjusted` adds the unadjusted difference in the same participants."""
    pairs = list(dict.fromkeys((row["group_a"], row["group_b"]) for row in rows))
    cells = []
    for row in rows[:SHOWN]:
        name = str(row["outcome"])
        outcome = capitalize(outcome_label(name)) + (f": {row['group_b']} − {row['group_a']}" if len(pairs) > 1 else "")
        unadjusted = (
            (f"{format_value(row['unadjusted_difference'], name, sign=True)}, p {format_p(row['unadjusted_p'])}",)
            if with_unadjusted
            else ()
        )
        numbers = (
            format_interval(row, "difference", name),
            format_p(row.get("p")),
            format_p(row.get(CORRECTED)),
            _effect(row),
        )
        cells.append((outcome, *numbers, *unadjusted, f"{int(row['n_a'])} + {int(row['n_b'])}"))
    unit = f", {UNIT}" if any(is_diffusivity(str(row["outcome"])) for row in rows) else ""
    pair = f": {pairs[0][1]} minus {pairs[0][0]}" if len(pairs) == 1 else ""
    truncated = f" The first {SHOWN} of {len(rows)} rows are shown." if len(rows) > SHOWN else ""
    methods = {str(row.get("test") or row.get("method")) for row in rows}
    effect = "residual standard deviations" if rows and "standardized" in rows[0] else "Hedges' g"
    columns = (
        "Outcome",
        "Difference (95 % CI)",
        "p",
        "p corrected",
        "Effect size",
        *(("Unadjusted",) * with_unadjusted),
        "n",
    )
    note = f"{_name_tests(methods)}. p-values corrected over all rows ({CORRECTION}). Effect size: {effect}.{truncated}"
    return Table(title=f"{title}{unit}{pair}", columns=columns, rows=tuple(cells), note=note)


def _effect(row: Row) -> str:
    name = "standardized" if "standardized" in row else "hedges_g"
    low, high = row.get(f"{name}_ci_low"), row.get(f"{name}_ci_high")
    return f"{number_or_dash(row.get(name))} ({number_or_dash(low)} to {number_or_dash(high)})"


def changes_table(rows: Sequence[Row], title: str) -> Table:
    """Return a table of changes within participants."""
    several = len({str(row["group"]) for row in rows}) > 1
    pairs = len({(row["level_a"], row["level_b"]) for row in rows})
    cells = []
    for row in rows[:SHOWN]:
        name = str(row["outcome"])
        levels = f": {row['level_b']} − {row['level_a']}" if pairs > 1 else ""
        group = f", {row['group']}" if several else ""
        numbers = (format_interval(row, "change", name), format_p(row.get("p")), format_p(row.get(CORRECTED)))
        effect, counts = number_or_dash(row.get("effect")), f"{int(row['n_pairs'])} / {int(row['n_incomplete'])}"
        cells.append((f"{capitalize(outcome_label(name))}{levels}{group}", *numbers, effect, counts))
    unit = f", {UNIT}" if any(is_diffusivity(str(row["outcome"])) for row in rows) else ""
    pair = f": {rows[0]['level_b']} minus {rows[0]['level_a']}" if rows and pairs == 1 else ""
    columns = ("Outcome", "Change (95 % CI)", "p", "p corrected", "Effect size", "Pairs / incomplete")
    truncated = f" The first {SHOWN} of {len(rows)} rows; group_within.tsv has all." if len(rows) > SHOWN else ""
    tests = {str(row["test"]) for row in rows}
    note = (
        f"{_name_tests(tests)}. p-values corrected over all rows ({CORRECTION}). Effect size: Cohen's d of the "
        f"changes.{truncated}"
    )
    return Table(title=f"{title}{unit}{pair}", columns=columns, rows=tuple(cells), note=note)


def _name_tests(names: set[str]) -> str:
    return capitalize(join_names(sorted(names - {"none"}))) or "Not tested: too few values"


def mean_cell(part: pd.DataFrame, group: str) -> str:
    """Return mean and SD of a group as a cell."""
    group_rows = part[part["group"] == group]
    if group_rows.empty or not group_rows["n"].iloc[0]:
        return "n/a"
    return f"{format_value(group_rows['mean'].iloc[0])} ({format_value(group_rows['sd'].iloc[0])})"


def count_cell(part: pd.DataFrame, group: str, level: str) -> str:
    """Return count and percentage of a level in a group as a cell."""
    group_rows = part[(part["group"] == group) & (part["level"] == level)]
    return f"{int(group_rows['n'].iloc[0])} ({group_rows['percent'].iloc[0]:.1f} %)" if len(group_rows) else "0"


def plain_table(name: str, title: str, table: pd.DataFrame) -> Table:
    """Return a table of results with readable headings."""
    shown = table.head(SHOWN)
    rows = tuple(tuple(_cell(str(key), value) for key, value in row.items()) for row in shown.to_dict("records"))
    truncated = f"The first {SHOWN} of {len(table)} rows; group_{name}.tsv has all." if len(table) > SHOWN else ""
    return Table(title=title, columns=tuple(_heading(str(column)) for column in table), rows=rows, note=truncated)


def _heading(name: str) -> str:
    """Return the heading of a column, such as ``Odds ratio, 95 % CI low``."""
    for suffix, label in (("_ci_low", ", 95 % CI low"), ("_ci_high", ", 95 % CI high")):
        if name.endswith(suffix):
            return _heading(name.removesuffix(suffix)) + label
    return _HEADINGS.get(name, words(name))


def _cell(name: str, value: Any) -> str:
    if name == "outcome":
        return capitalize(outcome_label(str(value)))
    if isinstance(value, float):
        if name.startswith("p_") or name == "p":
            return format_p(value)
        return "" if value != value else f"{value:.4g}".replace("-", "−")
    return "" if value is None else str(value)
