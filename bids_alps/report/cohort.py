"""Report page of a cohort: results and a table of its runs."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_alps import __version__
from bids_alps.model import SIDES, Array, Status
from bids_alps.provenance import read_statements
from bids_alps.report import figures_group
from bids_alps.report.explore import make_explorer, run_link
from bids_alps.report.failures import find_all_failures
from bids_alps.report.group_charts import draw_charts, result_pictures
from bids_alps.report.group_results import summarize_results
from bids_alps.report.html import number, render_group, words
from bids_alps.report.methods import draft_methods
from bids_alps.report.methods_group import write_group_methods
from bids_alps.report.page import LITERATURE, GroupPage, GroupRow, MethodsText, Picture, Reference, Table
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import Plan

Row = Mapping[str, Any]
_SIDES = (*SIDES, "bilateral")
_LABELS = ("participant_id", "session_id", "run", "roi_preset")
_SHOWN_RUNS = 2000
"""Maximum number of rows on the page, for fast rendering; group_alps.tsv has all runs."""
_SHOWN = ("alps_left", "alps_right", "alps_bilateral", "alps_bilateral_ci_low", "alps_bilateral_ci_high", "pitch")


def render_cohort(
    output_dir: Path,
    rows: Sequence[Row],
    findings_by_preset: Mapping[str, Findings],
    *,
    plan: Plan,
    notes: Sequence[str] = (),
    files: Sequence[str] = (),
) -> str:
    """Return the page of a cohort, with the runs and results of the first preset only.

    Parameters
    ----------
    output_dir
        Root of the derivatives, with the tables of checks and the crash files of the runs.
    rows
        As in `make_group_page`, of every preset.
    findings_by_preset
        Findings by preset, the primary preset first.
    plan
        Plan of the analysis.
    notes
        Remarks for the reader.
    files
        Tables that the page links, relative to it.
    """
    preset, findings = next(iter(findings_by_preset.items()))
    preset_rows = [row for row in rows if row.get("roi_preset") == preset]
    columns = [variable.name for variable in plan.variables]
    group = None if "comparison" in findings.tables else plan.group  # otherwise they have their own figure
    page = make_group_page(preset_rows, group=group, columns=columns, checks=count_checks(output_dir, preset))
    failures = find_all_failures(output_dir)
    page_notes = [*page.notes, *(note for note in notes if note not in findings.banners)]
    if len(findings_by_preset) > 1:
        page_notes.append(
            f"This page shows preset {preset}; the tables also include {', '.join(list(findings_by_preset)[1:])} "
            "(column roi_preset)."
        )
    page_notes += [f"No result for {failure.run}: {failure.message}" for failure in failures]
    pictures = (*page.pictures, *result_pictures(findings, plan, page_notes))
    methods = _methods(output_dir, findings, plan, page_notes)
    page = replace(
        page,
        banners=tuple(findings.banners),
        results=summarize_results(findings, plan),
        variables=_variables_table(plan),
        pictures=pictures,
        notes=tuple(page_notes),
        files=tuple(files),
        methods=methods,
    )
    return render_group(page)


def _methods(output_dir: Path, findings: Findings, plan: Plan, notes: list[str]) -> MethodsText:
    try:
        return write_group_methods(findings, plan, draft_methods(read_statements(output_dir)))
    except Exception as error:  # noqa: BLE001 - a failing sentence must not cost the page
        notes.append(f"The methods text could not be written ({type(error).__name__}: {error}).")
        return MethodsText()


def _variables_table(plan: Plan) -> Table | None:
    rows = tuple(
        (
            variable.name,
            variable.kind,
            variable.decided_by,
            "; ".join(variable.notes) or "–",
            "yes" if variable.analyzed else "no",
        )
        for variable in plan.variables
    )
    columns = ("Variable", "Type", "Decided by", "Notes", "Analyzed")
    note = "Levels or Units in participants.json have priority over the automatic rules."
    return Table(title="Variables of the participants", columns=columns, rows=rows, note=note) if rows else None


def count_checks(output_dir: Path, preset: str | None = None) -> dict[str, dict[str, int]]:
    """Return the number of runs by status for each check of a preset, ``{check: {"pass": n, ...}}``."""
    counts: dict[str, dict[str, int]] = {}
    for path in sorted(output_dir.glob("sub-*/**/*_desc-quality_scalarstats.tsv")):
        with path.open(encoding="utf-8", newline="") as stream:  # ten times faster than pandas
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
        One mapping per run: ``participant_id``, ``session_id``, ``run`` ..., ``alps_left``, ``alps_right``,
        ``alps_bilateral``, ``pitch``, ``roll``, ``yaw``, ``status``; missing columns are omitted.
    group
        Column that defines the groups in the distributions.
    columns
        Further columns to show, such as age and diagnosis.
    checks
        Number of runs by status for each check, ``{check: {"pass": n, ...}}``.
    reference
        Reference range of the index.

    Returns
    -------
    GroupPage
        Results, further charts, notes and methods are added with `dataclasses.replace`.
    """
    # what names a run: the usual columns, and columns of entities, which come before the index
    first = [name for name in (rows[0] if rows else {}) if name not in _LABELS]
    entities = first[: first.index("alps_left") if "alps_left" in first else 0]
    labels = [name for name in (*_LABELS, *entities) if any(_cell(row.get(name)) != "n/a" for row in rows)]
    labels = [name for name in labels if name != "status"]
    present = [name for name in (*labels, *_SHOWN, *columns) if any(name in row for row in rows)]
    shown = list(dict.fromkeys(present))
    notes = [f"The first {_SHOWN_RUNS} of {len(rows)} runs are listed; group_alps.tsv has all runs."]
    notes = notes if len(rows) > _SHOWN_RUNS else []
    pictures = _pictures(rows, group, (checks or {}, reference), notes) if rows else ()
    return GroupPage(
        title="Cohort",
        version=__version__,
        columns=tuple(words(name.removesuffix("_id")) for name in shown),
        rows=tuple(
            GroupRow(cells=tuple(_cell(row.get(name)) for name in shown), status=status_of(row), link=run_link(row))
            for row in rows[:_SHOWN_RUNS]
        ),
        pictures=pictures,
        explorer=make_explorer(rows, columns, group=group),
        notes=tuple(notes),
    )


def status_of(row: Row) -> Status:
    """Return the status of a run; ``warn`` if it is missing."""
    status = row.get("status")
    return status if status in ("pass", "warn", "fail") else "warn"


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    if isinstance(value, float):
        return number(value)
    return str(value)


def _column(rows: Sequence[Row], name: str) -> Array:
    values = [row.get(name) for row in rows]
    return np.array([float(value) if isinstance(value, int | float) else np.nan for value in values])


def _pictures(
    rows: Sequence[Row],
    group: str | None,
    options: tuple[Mapping[str, Mapping[str, int]], Reference],
    notes: list[str],
) -> tuple[Picture, ...]:
    checks, reference = options
    statuses = [status_of(row) for row in rows]
    passed = np.array([status != "fail" for status in statuses])
    indices = {side: np.where(passed, _column(rows, f"alps_{side}"), np.nan) for side in _SIDES}
    groups = [_cell(row.get(group)) for row in rows] if group else []
    pose = {angle: _column(rows, angle) for angle in ("pitch", "roll", "yaw")}
    named = {words(name): count for name, count in checks.items()}
    captions = {
        "Distribution of the index": "One point per run that did not fail; bars are interquartile ranges with the "
        "median.",
        "Left and right index": "The dotted line is the line of identity. Runs far from it may have an unreliable "
        "index on one side.",
        "Head pose and index": "The index should not depend on head pose; r is Pearson's correlation.",
        "Checks": "Number of runs by status for each quality check.",
    }
    works: tuple[Callable[[], bytes], ...] = (
        lambda: figures_group.draw_index_distribution(indices, groups, reference),
        lambda: figures_group.draw_left_right(indices["left"], indices["right"], statuses),
        lambda: figures_group.draw_pose(pose, indices["bilateral"], statuses),
        *((lambda: figures_group.draw_checks(named),) if checks else ()),
    )
    charts = [
        (title, lambda caption=caption, work=work: (caption, work()))
        for (title, caption), work in zip(captions.items(), works, strict=False)
    ]
    return draw_charts(charts, notes)
