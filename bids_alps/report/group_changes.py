"""Changes within participants on the group page."""

from __future__ import annotations

from bids_alps.report import figures_statistics
from bids_alps.report.group_format import Row, describe_p, format_interval, format_p
from bids_alps.report.group_supplement import ALPHA, chart_picture, result_rows
from bids_alps.report.group_tables import changes_table, split_families
from bids_alps.report.page import Picture, Result
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.multiplicity import CORRECTED
from bids_alps.statistics.plan import PRIMARY_OUTCOME


def changes_result(findings: Findings) -> Result | None:
    """Return the section of changes within participants; None if there are none."""
    rows = result_rows(findings, "within")
    if not rows:
        return None
    factor, levels = str(findings.facts.get("factor", "session")), findings.facts.get("levels", [])
    headline = [row for row in rows if row["outcome"] == PRIMARY_OUTCOME and row["group"] == "all"]
    sentences = [_change_sentence(row) for row in headline]
    interactions = [row for row in result_rows(findings, "interaction") if row["outcome"] == PRIMARY_OUTCOME]
    sentences += [_interaction_sentence(row) for row in interactions]
    indices, others = split_families(rows)
    folded = [changes_table(family_rows, title) for title, family_rows in others.items()]
    values = _trajectories(findings, factor, [str(level) for level in levels])
    return Result(
        title=f"Change within participants ({factor})",
        sentences=tuple(sentences),
        tables=(changes_table(indices, "The same participants, before and after"),),
        pictures=values,
        folded=tuple(folded),
    )


def _trajectories(findings: Findings, factor: str, levels: list[str]) -> tuple[Picture, ...]:
    table = findings.facts.get("trajectories")
    if table is None or len(levels) < 2:
        return ()
    svg = figures_statistics.draw_changes(table, levels)
    return (
        chart_picture(
            f"The bilateral index over {factor}",
            "One line per participant; the thick line joins the means of complete pairs.",
            svg,
        ),
    )


def _change_sentence(row: Row) -> str:
    if row["test"] == "none":
        pairs = int(row["n_pairs"])
        return f"The change from {row['level_a']} to {row['level_b']} cannot be tested: {pairs} complete pairs."
    changed = "changed" if row[CORRECTED] < ALPHA else "did not change significantly"
    return (
        f"From {row['level_a']} to {row['level_b']} the bilateral index {changed}: {format_interval(row, 'change')}; "
        f"{describe_p(row['p'])}, corrected {format_p(row[CORRECTED])} ({row['test']}, {int(row['n_pairs'])} complete "
        f"pairs, {int(row['n_incomplete'])} incomplete)."
    )


def _interaction_sentence(row: Row) -> str:
    if not row["p"] >= 0:  # NaN
        counts = f"n = {int(row['n_a'])} + {int(row['n_b'])}"
        return (
            f"The change from {row['level_a']} to {row['level_b']} cannot be compared between {row['group_a']} and "
            f"{row['group_b']}: {counts}."
        )
    verdict = "differed" if row[CORRECTED] < ALPHA else "did not differ significantly"
    return (
        f"The change {verdict} between {row['group_a']} and {row['group_b']} ({row['level_b']} minus "
        f"{row['level_a']}): "
        f"{format_interval(row, 'difference')}; {describe_p(row['p'])}, corrected {format_p(row[CORRECTED])}."
    )
