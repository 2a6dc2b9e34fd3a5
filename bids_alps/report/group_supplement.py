"""Supplementary results of a cohort: models, reliability, precision, norms, as collapsed tables with summaries."""

from __future__ import annotations

from bids_alps.report.group_format import Row, format_value
from bids_alps.report.group_tables import plain_table
from bids_alps.report.page import Picture, Result
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import PRIMARY_OUTCOME

ALPHA = 0.05


def chart_picture(title: str, caption: str, svg: bytes) -> Picture:
    """Return a chart as a picture."""
    return Picture(title=title, caption=caption, alt=f"{title}. {caption}", svg=(svg,), chart=True)


def result_rows(findings: Findings, name: str) -> list[Row]:
    """Return the rows of a table of results; empty if there is no such table."""
    table = findings.tables.get(name)
    if table is None:
        return []
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def supplementary_results(findings: Findings) -> Result | None:
    """Return the collapsed tables: models, discrimination, reliability, precision and others."""
    titles = {
        "models": "Models",
        "model_tests": "Terms of the models",
        "checks": "Assumptions of the models",
        "discrimination": "Discrimination between groups (ROC, logistic regression)",
        "equivalence": "Equivalence",
        "reliability": "Reliability",
        "precision": "Measurement error",
        "power": "Sample size for a new study",
    }
    tables = tuple(
        plain_table(name, title, findings.tables[name]) for name, title in titles.items() if name in findings.tables
    )
    sentences = tuple(
        _precision_sentence(row) for row in result_rows(findings, "precision") if row["outcome"] == PRIMARY_OUTCOME
    )[:1]
    sentences += tuple(
        f"{row['kind']} of the bilateral index between {row['between']} ({row['repeats']}): {row['icc']:.2f} "
        f"({row['ci_low']:.2f} to {row['ci_high']:.2f}), {int(row['participants'])} participants; smallest detectable "
        f"change {format_value(row['smallest_detectable_change'])}."
        for row in result_rows(findings, "reliability")
        if row["outcome"] == PRIMARY_OUTCOME
    )
    if "norms" in findings.facts:
        sentences += (str(findings.facts["norms"]) + " Scores are in group_norms.tsv.",)
    return Result(title="Further results", sentences=sentences, folded=tables) if tables or sentences else None


def _precision_sentence(row: Row) -> str:
    if not row["measurement_error_fraction"] < 1:
        return (
            f"The standard errors of the bilateral index ({row['sd_measurement']:.3f}) are as large as its SD between "
            f"participants ({row['sd']:.3f}, n = {int(row['n'])}): they are overestimated, or participants do not "
            "differ measurably."
        )
    return (
        f"Measurement error accounts for {100 * row['measurement_error_fraction']:.0f} % of the variance of the "
        f"bilateral index between participants (reliability {row['reliability']:.2f}, n = {int(row['n'])})."
    )
