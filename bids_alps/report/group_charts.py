"""Charts of the results of a cohort: age, correlations, harmonization."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pandas.api.types import is_numeric_dtype

from bids_alps.report import figures_group
from bids_alps.report.page import Picture
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import Plan

_DRAWN_OUTCOMES = 40
_DRAWN_VARIABLES = 12
Chart = tuple[str, Callable[[], tuple[str, bytes] | None]]
"""Title of a chart, and what returns its caption and its SVG, or None if there is nothing to draw."""


def draw_charts(charts: Sequence[Chart], notes: list[str]) -> tuple[Picture, ...]:
    """Return the charts as pictures; one that fails becomes a note."""
    pictures = []
    for title, work in charts:
        try:
            drawn = work()
        except Exception as error:  # noqa: BLE001 - a failing chart must not cost the page
            notes.append(f"The figure {title!r} could not be drawn ({type(error).__name__}: {error}).")
            continue
        if drawn is not None:
            caption, svg = drawn
            alt = f"{title}. {caption}"
            pictures.append(Picture(title=title, caption=caption, alt=alt, svg=(svg,), chart=True))
    return tuple(pictures)


def result_pictures(findings: Findings, plan: Plan, notes: list[str]) -> tuple[Picture, ...]:
    """Return charts of age, correlations and harmonization for the analyzed participants."""
    charts = (
        ("Index by age", lambda: _draw_age(findings, plan)),
        ("Correlations", lambda: _draw_correlations(findings)),
        ("Harmonization", lambda: _draw_harmonization(findings)),
    )
    return draw_charts(charts, notes)


def _draw_age(findings: Findings, plan: Plan) -> tuple[str, bytes] | None:
    people = findings.people
    age = next((name for name in people if str(name).lower() == "age"), None)
    if age is None or not is_numeric_dtype(people[age]) or people[age].notna().sum() < 3:
        return None
    order = [str(name) for name in findings.facts.get("groups", [])]  # same colors as in the other figures
    groups = people[plan.group].astype(str).tolist() if plan.group in people else []
    rows = sorted(range(len(groups)), key=lambda n: order.index(groups[n])) if order else list(range(len(people)))
    values = people[age].to_numpy(dtype=float)[rows], people["alps_bilateral"].to_numpy(dtype=float)[rows]
    groups = [groups[n] for n in rows] if groups else []
    caption = f"One point per participant; lines are least-squares fits{' by group' if groups else ''}."
    return caption, figures_group.draw_age(*values, groups)


def _draw_correlations(findings: Findings) -> tuple[str, bytes] | None:
    if "correlations" not in findings.tables:
        return None
    pooled = findings.tables["correlations"][findings.tables["correlations"]["group"] == "all"]
    outcomes, variables = pooled["outcome"].unique(), pooled["variable"].unique()
    shown = pooled[
        pooled["outcome"].isin(outcomes[:_DRAWN_OUTCOMES]) & pooled["variable"].isin(variables[:_DRAWN_VARIABLES])
    ]
    kind = "within" if (shown["kind"] == "within").any() else "pearson"
    if not shown.loc[shown["kind"] == kind, "r"].notna().any():
        return None
    caption = "Pearson's r; asterisks mark p < 0.05 after Benjamini-Hochberg correction."
    if kind == "within":
        caption = "Correlation within groups, after removing the group means; asterisks mark p < 0.05 after "
        caption += "Benjamini-Hochberg correction. group_correlations.tsv has the correlations by group and pooled."
    for what, names, limit in (("outcomes", outcomes, _DRAWN_OUTCOMES), ("variables", variables, _DRAWN_VARIABLES)):
        caption += f" The first {limit} of {len(names)} {what} are shown." if len(names) > limit else ""
    return caption, figures_group.draw_correlations(shown, kind)


def _draw_harmonization(findings: Findings) -> tuple[str, bytes] | None:
    if findings.before is None or "harmonized" not in findings.tables:
        return None
    site = str(findings.facts["harmonized"])
    values = {
        name: (table["alps_bilateral"].to_numpy(dtype=float), table[site].astype(str).tolist())
        for name, table in (("before", findings.before), ("after", findings.tables["harmonized"]))
    }
    caption = f"The bilateral index by {site}, before and after ComBat."
    return caption, figures_group.draw_harmonization(values)
