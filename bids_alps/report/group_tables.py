"""Tables of what was found, as a reader wants them: estimates with their intervals in one cell, names in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bids_alps.report.group_words import (
    UNIT,
    Row,
    capital,
    interval,
    is_diffusivity,
    listed,
    measure,
    number_or_dash,
    outcome_words,
    p_value,
)
from bids_alps.report.html import words
from bids_alps.report.page import Table
from bids_alps.statistics.multiplicity import CORRECTED
from bids_alps.statistics.plan import HEADLINE

SHOWN = 40
CORRECTION = "Holm"


def split_families(rows: Sequence[Row]) -> tuple[list[Row], dict[str, list[Row]]]:
    """Return the rows of the index, the bilateral one first, and those of the other families by title."""
    indices = sorted((row for row in rows if row["family"] == "index"), key=lambda row: row["outcome"] != HEADLINE)
    titles = {"diffusivity": "Diffusivities", "atlas": "Regions of the atlas"}
    others = {title: [row for row in rows if row["family"] == family] for family, title in titles.items()}
    return indices, {title: own for title, own in others.items() if own}


def pairs_table(rows: Sequence[Row], title: str, *, beside: bool = False) -> Table:
    """Return a table of differences; `beside` adds the unadjusted one of the same participants."""
    pairs = list(dict.fromkeys((row["group_a"], row["group_b"]) for row in rows))
    cells = []
    for row in rows[:SHOWN]:
        name = str(row["outcome"])
        outcome = capital(outcome_words(name)) + (f": {row['group_b']} − {row['group_a']}" if len(pairs) > 1 else "")
        raw = (
            (f"{measure(row['unadjusted_difference'], name, sign=True)}, p {p_value(row['unadjusted_p'])}",)
            if beside
            else ()
        )
        numbers = (interval(row, "difference", name), p_value(row.get("p")), p_value(row.get(CORRECTED)), _effect(row))
        cells.append((outcome, *numbers, *raw, f"{int(row['n_a'])} + {int(row['n_b'])}"))
    unit = f", {UNIT}" if any(is_diffusivity(str(row["outcome"])) for row in rows) else ""
    pair = f": {pairs[0][1]} minus {pairs[0][0]}" if len(pairs) == 1 else ""
    more = f" The first {SHOWN} of {len(rows)} rows." if len(rows) > SHOWN else ""
    methods = sorted({str(row.get("test") or row.get("method")) for row in rows})
    effect = "residual standard deviations" if rows and "standardised" in rows[0] else "Hedges' g"
    columns = (
        "Outcome",
        "Difference (95 % CI)",
        "p",
        "p corrected",
        "Effect size",
        *(("Unadjusted",) * beside),
        "n",
    )
    note = (
        f"{capital(listed(methods))}. Corrected by {CORRECTION}'s method over all rows. Effect size in {effect}.{more}"
    )
    return Table(title=f"{title}{unit}{pair}", columns=columns, rows=tuple(cells), note=note)


def _effect(row: Row) -> str:
    name = "standardised" if "standardised" in row else "hedges_g"
    low, high = row.get(f"{name}_ci_low"), row.get(f"{name}_ci_high")
    return f"{number_or_dash(row.get(name))} ({number_or_dash(low)} to {number_or_dash(high)})"


def changes_table(rows: Sequence[Row], title: str) -> Table:
    """Return a table of changes within participants."""
    several = len({str(row["group"]) for row in rows}) > 1
    pairs = len({(row["level_a"], row["level_b"]) for row in rows})
    cells = []
    for row in rows[:SHOWN]:
        name = str(row["outcome"])
        what = f": {row['level_b']} − {row['level_a']}" if pairs > 1 else ""
        who = f", {row['group']}" if several else ""
        numbers = (interval(row, "change", name), p_value(row.get("p")), p_value(row.get(CORRECTED)))
        effect, counts = number_or_dash(row.get("effect")), f"{int(row['n_pairs'])} / {int(row['n_incomplete'])}"
        cells.append((f"{capital(outcome_words(name))}{what}{who}", *numbers, effect, counts))
    unit = f", {UNIT}" if any(is_diffusivity(str(row["outcome"])) for row in rows) else ""
    pair = f": {rows[0]['level_b']} minus {rows[0]['level_a']}" if rows and pairs == 1 else ""
    columns = ("Outcome", "Change (95 % CI)", "p", "p corrected", "Effect size", "Pairs / incomplete")
    more = f" The first {SHOWN} of {len(rows)} rows; group_within.tsv has all." if len(rows) > SHOWN else ""
    tests = listed(sorted({str(row["test"]) for row in rows}))
    note = (
        f"{capital(tests)}. Corrected by {CORRECTION}'s method over all rows. Effect: Cohen's d of the changes.{more}"
    )
    return Table(title=f"{title}{unit}{pair}", columns=columns, rows=tuple(cells), note=note)


def mean_cell(part: pd.DataFrame, group: str) -> str:
    """Return mean and SD of a group as a cell."""
    own = part[part["group"] == group]
    if own.empty or not own["n"].iloc[0]:
        return "n/a"
    return f"{measure(own['mean'].iloc[0])} ({measure(own['sd'].iloc[0])})"


def count_cell(part: pd.DataFrame, group: str, level: str) -> str:
    """Return count and percentage of a level in a group as a cell."""
    own = part[(part["group"] == group) & (part["level"] == level)]
    return f"{int(own['n'].iloc[0])} ({own['percent'].iloc[0]:.1f} %)" if len(own) else "0"


def plain_table(name: str, title: str, table: pd.DataFrame) -> Table:
    """Return a table of results with its headings in words."""
    shown = table.head(SHOWN)
    rows = tuple(tuple(_cell(str(key), value) for key, value in row.items()) for row in shown.to_dict("records"))
    more = f"The first {SHOWN} of {len(table)} rows; group_{name}.tsv has all." if len(table) > SHOWN else ""
    return Table(title=title, columns=tuple(_heading(str(column)) for column in table), rows=rows, note=more)


def _heading(name: str) -> str:
    known = {
        "p": "p",
        "p_fdr": "p (FDR)",
        "p_holm": "p (Holm)",
        "p_bonferroni": "p (Bonferroni)",
        "df": "df",
        "r2": "R²",
    }
    known |= {"ci_low": "95 % from", "ci_high": "to", "auc": "AUC", "icc": "ICC", "n_a": "n (A)", "n_b": "n (B)"}
    known |= {"group_a": "A", "group_b": "B", "r2_adjusted": "R² adjusted", "df_error": "df error"}
    return known.get(name, words(name))


def _cell(name: str, value: Any) -> str:
    if name == "outcome":
        return capital(outcome_words(str(value)))
    if isinstance(value, float):
        if name.startswith("p_") or name == "p":
            return p_value(value)
        return "" if value != value else f"{value:.4g}".replace("-", "−")
    return "" if value is None else str(value)
