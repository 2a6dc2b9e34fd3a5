"""The page of a cohort: what was found in it, and its runs one by one."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_alps import __version__
from bids_alps.model import SIDES, Array, Status
from bids_alps.provenance import read_statements
from bids_alps.report import figures_group
from bids_alps.report.explore import make_explorer, run_name
from bids_alps.report.group_results import tell_results
from bids_alps.report.html import number, render_group, words
from bids_alps.report.methods import draft_methods
from bids_alps.report.methods_group import write_group_methods
from bids_alps.report.page import LITERATURE, GroupPage, GroupRow, Picture, Reference, Table
from bids_alps.report.participant import find_failures
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import Plan

Row = Mapping[str, Any]
_SIDES = (*SIDES, "bilateral")
_LABELS = ("participant_id", "session_id", "run", "roi_preset")
_SHOWN_RUNS = 2000
"""Rows on the page; a browser takes long over more, and the table beside it has them all."""
_DRAWN_OUTCOMES = 40
_SHOWN = ("alps_left", "alps_right", "alps_bilateral", "alps_bilateral_ci_low", "alps_bilateral_ci_high", "pitch")


def render_cohort(
    output_dir: Path, rows: Sequence[Row], found: Mapping[str, Findings], *, plan: Plan, notes: Sequence[str] = ()
) -> str:
    """Return the page of a cohort; it shows the runs and results of the first preset, never two in one figure.

    Parameters
    ----------
    output_dir
        Root of the derivatives, where the tables of checks and the crash files of the runs are looked for.
    rows
        As in `make_group_page`, of every preset.
    found
        Findings by preset, the headline first.
    plan
        What was tested.
    notes
        What the reader should know.
    """
    preset, findings = next(iter(found.items()))
    own = [row for row in rows if row.get("roi_preset") == preset]
    columns = [variable.name for variable in plan.variables]
    group = None if "comparison" in findings.tables else plan.group  # else a figure of their own shows them
    page = make_group_page(own, group=group, columns=columns, checks=count_checks(output_dir, preset))
    labels = sorted(path.name.removeprefix("sub-") for path in (output_dir / "logs").glob("sub-*"))
    failures = [failure for label in labels for failure in find_failures(output_dir, label)]
    told = [*page.notes, *(note for note in notes if note not in findings.banners)]
    if len(found) > 1:
        told.append(
            f"This page shows preset {preset}; the tables also have {', '.join(list(found)[1:])} (column roi_preset)."
        )
    told += [f"No result of {failure.run}: {failure.message}" for failure in failures]
    page = replace(
        page,
        banners=tuple(findings.banners),
        results=tell_results(findings, plan),
        variables=_variables_table(plan),
        pictures=(*page.pictures, *_result_pictures(findings, plan)),
        notes=tuple(told),
        methods=write_group_methods(findings, plan, draft_methods(read_statements(output_dir))),
    )
    return render_group(page)


def _variables_table(plan: Plan) -> Table | None:
    rows = tuple(
        (one.name, one.kind, one.decided_by, "; ".join(one.notes) or "–", "yes" if one.analysed else "no")
        for one in plan.variables
    )
    columns = ("Variable", "Type", "Decided by", "Notes", "Analysed")
    note = "Levels or Units in participants.json take precedence over the rules."
    return Table(title="Variables of the participants", columns=columns, rows=rows, note=note) if rows else None


def _result_pictures(findings: Findings, plan: Plan) -> tuple[Picture, ...]:
    """Return charts of what was correlated and harmonised, over the participants who were analysed."""
    drawn = []
    people, tables = findings.people, findings.tables
    age = next((name for name in people if str(name).lower() == "age"), None)
    if age is not None and people[age].notna().sum() > 2:
        order = [str(name) for name in findings.facts.get("groups", [])]  # so that colours are those of other figures
        groups = people[plan.group].astype(str).tolist() if plan.group in people else []
        rows = sorted(range(len(groups)), key=lambda n: order.index(groups[n])) if order else list(range(len(people)))
        values = people[age].to_numpy(dtype=float)[rows], people["alps_bilateral"].to_numpy(dtype=float)[rows]
        groups = [groups[n] for n in rows] if groups else []
        said = "One point a participant; the line is the least-squares fit of each group."
        drawn.append(("Age against index", said, figures_group.draw_age(*values, groups)))
    if "correlations" in tables:
        pooled = tables["correlations"][tables["correlations"]["group"] == "all"]
        outcomes = pooled["outcome"].unique()
        shown = pooled[pooled["outcome"].isin(outcomes[:_DRAWN_OUTCOMES])]
        kind = "within" if (shown["kind"] == "within").any() else "pearson"
        said = "Pearson's r; a star marks p below 0.05 after Benjamini-Hochberg."
        if kind == "within":
            said = "Correlation within groups, the means of the groups taken out; a star marks p below 0.05 after "
            said += "Benjamini-Hochberg. group_correlations.tsv has each group, and all pooled."
        if len(outcomes) > _DRAWN_OUTCOMES:
            said += f" The first {_DRAWN_OUTCOMES} of {len(outcomes)} outcomes."
        drawn.append(("Correlations", said, figures_group.draw_correlations(shown, kind)))
    if findings.before is not None and "harmonised" in tables:
        site = str(findings.facts["harmonised"])
        values_by = {
            name: (table["alps_bilateral"].to_numpy(dtype=float), table[site].astype(str).tolist())
            for name, table in (("before", findings.before), ("after", tables["harmonised"]))
        }
        said = f"The bilateral index by {site}, before and after ComBat."
        drawn.append(("Harmonisation", said, figures_group.draw_harmonisation(values_by)))
    return tuple(
        Picture(title=title, caption=said, alt=f"{title}. {said}", svg=(svg,), chart=True) for title, said, svg in drawn
    )


def count_checks(output_dir: Path, preset: str | None = None) -> dict[str, dict[str, int]]:
    """Return how many runs have each status in each check of a preset, ``{check: {"pass": n, ...}}``."""
    counts: dict[str, dict[str, int]] = {}
    for path in sorted(output_dir.glob("sub-*/**/*_desc-quality_scalarstats.tsv")):
        with path.open(encoding="utf-8", newline="") as stream:  # a data frame takes ten times as long
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                if preset is not None and row.get("roi_preset", preset) != preset:
                    continue
                count = counts.setdefault(str(row.get("name")), {})
                count[str(row.get("status"))] = count.get(str(row.get("status")), 0) + 1
    return counts


def make_group_page(
    rows: Sequence[Row],
    *,
    group: str | None = None,
    columns: Sequence[str] = (),
    checks: Mapping[str, Mapping[str, int]] | None = None,
    reference: Reference = LITERATURE,
) -> GroupPage:
    """Make the page of a cohort.

    Parameters
    ----------
    rows
        One mapping a run: ``participant_id``, ``session_id``, ``run`` ..., ``alps_left``, ``alps_right``,
        ``alps_bilateral``, ``pitch``, ``roll``, ``yaw``, ``status``; what is missing is left out.
    group
        Column that tells the groups of the distributions.
    columns
        More columns to show, such as age and diagnosis.
    checks
        How many runs have each status in each check, ``{check: {"pass": n, ...}}``.
    reference
        Range to see the index against.

    Returns
    -------
    GroupPage
        `dataclasses.replace` adds results of models, further charts, notes, methods.
    """
    present = [name for name in (*_labels_of(rows), *_SHOWN, *columns) if any(name in row for row in rows)]
    shown = list(dict.fromkeys(present))
    drawn = _pictures(rows, group, checks or {}, reference) if rows else ()
    return GroupPage(
        title="Cohort",
        version=__version__,
        columns=tuple(words(name.removesuffix("_id")) for name in shown),
        rows=tuple(
            GroupRow(cells=tuple(_cell(row.get(name)) for name in shown), status=status_of(row), link=_link(row))
            for row in rows[:_SHOWN_RUNS]
        ),
        pictures=drawn,
        explorer=make_explorer(rows, columns, group=group),
        notes=(f"The first {_SHOWN_RUNS} of {len(rows)} runs are listed; group_alps.tsv has all.",)
        * (len(rows) > _SHOWN_RUNS),
    )


def status_of(row: Row) -> Status:
    """Return the status of a run; one without it is doubtful."""
    status = row.get("status")
    return status if status in ("pass", "warn", "fail") else "warn"


def _labels_of(rows: Sequence[Row]) -> list[str]:
    """Columns that name a run: the usual ones, and entities before the index that are told for any run."""
    before = [name for name in (rows[0] if rows else {}) if name not in _LABELS]
    end = before.index("alps_left") if "alps_left" in before else 0
    told = [name for name in (*_LABELS, *before[:end]) if any(_cell(row.get(name)) != "n/a" for row in rows)]
    return [name for name in told if name != "status"]


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    if isinstance(value, float):
        return number(value)
    return str(value)


def _link(row: Row) -> str:
    """Address of the run on its participant's page beside this one; none for a label that could lead elsewhere."""
    label = str(row.get("participant_id", "")).removeprefix("sub-")
    return f"sub-{label}.html#{run_name(row)}" if label.replace("+", "").isalnum() and label.isascii() else ""


def _column(rows: Sequence[Row], name: str) -> Array:
    values = [row.get(name) for row in rows]
    return np.array([float(value) if isinstance(value, int | float) else np.nan for value in values])


def _pictures(
    rows: Sequence[Row], group: str | None, checks: Mapping[str, Mapping[str, int]], reference: Reference
) -> tuple[Picture, ...]:
    statuses = [status_of(row) for row in rows]
    passed = np.array([status != "fail" for status in statuses])
    indices = {side: np.where(passed, _column(rows, f"alps_{side}"), np.nan) for side in _SIDES}
    groups = [_cell(row.get(group)) for row in rows] if group else []
    pose = {angle: _column(rows, angle) for angle in ("pitch", "roll", "yaw")}
    drawn = [
        (
            "Distribution of the index",
            "One point a run that did not fail; the bar spans the middle half, its tick is the median.",
            figures_group.draw_index_distribution(indices, groups, reference),
        ),
        (
            "Left against right",
            "The dotted line is equality. A run far from it has a doubtful side.",
            figures_group.draw_left_right(indices["left"], indices["right"], statuses),
        ),
        (
            "Pose against index",
            "The pose of the head should not tell the index; r is Pearson's correlation.",
            figures_group.draw_pose(pose, indices["bilateral"], statuses),
        ),
    ]
    if checks:
        drawn.append(("Checks", "How many runs passed each check.", figures_group.draw_checks(checks)))
    return tuple(
        Picture(title=title, caption=told, alt=f"{title}. {told}", svg=(svg,), chart=True) for title, told, svg in drawn
    )
