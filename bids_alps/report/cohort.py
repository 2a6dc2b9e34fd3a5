"""The page of a cohort from its table: one row a run, as the group level writes it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from bids_alps import __version__
from bids_alps.io.writing import write_text
from bids_alps.model import SIDES, Array, Status
from bids_alps.provenance import read_statements
from bids_alps.report import figures_group
from bids_alps.report.html import number, render_group, words
from bids_alps.report.methods import cite, draft_methods
from bids_alps.report.page import (
    CAVEAT,
    LITERATURE,
    GroupPage,
    GroupRow,
    Picture,
    Reference,
    Table,
)
from bids_alps.report.participant import find_failures

Row = Mapping[str, Any]
_SIDES = (*SIDES, "bilateral")
_LABELS = ("participant_id", "session_id", "run", "roi_preset")
_SHOWN_RUNS = 2000
"""Rows on the page; a browser takes long over more, and the table beside it has them all."""
_DRAWN_OUTCOMES = 40
_SHOWN = ("alps_left", "alps_right", "alps_bilateral", "alps_bilateral_ci_low", "alps_bilateral_ci_high", "pitch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What was found in a cohort, for its page.

    Parameters
    ----------
    group
        Column that tells the groups, None where there are none.
    tables
        Results of tests and models.
    correlations
        Table of correlations of the first preset, as `bids_alps.statistics.correlation.correlate` returns it.
    harmonised
        Runs before and after harmonisation, and the column of the site; None where nothing was harmonised.
    methods, notes
        What was tested; what the reader must know.
    """

    group: str | None = None
    tables: tuple[Table, ...] = ()
    correlations: DataFrame | None = None
    harmonised: tuple[DataFrame, DataFrame, str] | None = None
    methods: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def write_group_page(
    output_dir: Path, rows: Sequence[Row], *, columns: Sequence[str] = (), results: Results | None = None
) -> Path:
    """Write ``group_alps.html`` from the rows of the cohort's table; return its path.

    Parameters
    ----------
    output_dir
        Root of the derivatives, where the tables of checks and the crash files of the runs are looked for.
    rows
        As in `make_group_page`.
    columns
        More columns to show.
    results
        What was found.
    """
    results = results or Results()
    page = make_group_page(rows, group=results.group, columns=columns, checks=count_checks(output_dir))
    people = sorted(path.name.removeprefix("sub-") for path in (output_dir / "logs").glob("sub-*"))
    failures = [failure for label in people for failure in find_failures(output_dir, label)]
    page = replace(
        page,
        pictures=(*page.pictures, *_result_pictures(rows, results)),
        notes=(
            *page.notes,
            *results.notes,
            *(f"No result of {failure.run}: {failure.message}" for failure in failures),
        ),
        tables=results.tables,
        methods=cite([*draft_methods(read_statements(output_dir)), *results.methods, CAVEAT]),
    )
    path = output_dir / "group_alps.html"
    write_text(path, render_group(page))
    return path


def _result_pictures(rows: Sequence[Row], results: Results) -> tuple[Picture, ...]:
    drawn = []
    groups = [_cell(row.get(results.group)) for row in rows] if results.group else []
    age = _column(rows, "age")
    if np.isfinite(age).sum() > 2:
        svg = figures_group.draw_age(age, _column(rows, "alps_bilateral"), groups)
        drawn.append(("Age against index", "One point a run; the line is the least-squares fit of each group.", svg))
    if results.correlations is not None:
        outcomes = results.correlations["outcome"].unique()
        shown = results.correlations[results.correlations["outcome"].isin(outcomes[:_DRAWN_OUTCOMES])]
        told = "Pearson's r; a star marks p below .05 after Benjamini-Hochberg."
        if len(outcomes) > _DRAWN_OUTCOMES:
            told += f" The first {_DRAWN_OUTCOMES} of {len(outcomes)} outcomes; group_correlations.tsv has all."
        drawn.append(("Correlations", told, figures_group.draw_correlations(shown)))
    if results.harmonised is not None:
        before, after, site = results.harmonised
        values = {
            name: (table["alps_bilateral"].to_numpy(dtype=float), table[site].astype(str).tolist())
            for name, table in (("before", before), ("after", after))
        }
        told = f"The bilateral index by {site}, before and after ComBat."
        drawn.append(("Harmonisation", told, figures_group.draw_harmonisation(values)))
    return tuple(
        Picture(title=title, caption=told, alt=f"{title}. {told}", svg=(svg,), chart=True) for title, told, svg in drawn
    )


def count_checks(output_dir: Path) -> dict[str, dict[str, int]]:
    """Return how many runs have each status in each check, ``{check: {"pass": n, ...}}``."""
    counts: dict[str, dict[str, int]] = {}
    for path in sorted(output_dir.glob("sub-*/**/*_desc-quality_scalarstats.tsv")):
        with path.open(encoding="utf-8", newline="") as stream:  # a data frame takes ten times as long
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
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
    """Address of the participant's page beside this one; none for a label that could lead elsewhere."""
    label = str(row.get("participant_id", "")).removeprefix("sub-")
    return f"sub-{label}.html" if label.replace("+", "").isalnum() and label.isascii() else ""


def _column(rows: Sequence[Row], name: str) -> Array:
    values = [row.get(name) for row in rows]
    return np.array([float(value) if isinstance(value, int | float) else np.nan for value in values])


def _pictures(
    rows: Sequence[Row], group: str | None, checks: Mapping[str, Mapping[str, int]], reference: Reference
) -> tuple[Picture, ...]:
    statuses = [status_of(row) for row in rows]
    indices = {side: _column(rows, f"alps_{side}") for side in _SIDES}
    groups = [_cell(row.get(group)) for row in rows] if group else []
    pose = {angle: _column(rows, angle) for angle in ("pitch", "roll", "yaw")}
    drawn = [
        (
            "Distribution of the index",
            "One point a run under the density; the bar spans the middle half, its tick is the median.",
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
