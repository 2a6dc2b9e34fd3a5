"""Results of a cohort by question: summary sentences, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bids_alps.report import figures_statistics
from bids_alps.report.group_changes import changes_result
from bids_alps.report.group_format import (
    Row,
    capitalize,
    describe_p,
    format_interval,
    format_p,
    format_value,
    join_names,
    number_or_dash,
)
from bids_alps.report.group_supplement import ALPHA, chart_picture, result_rows, supplementary_results
from bids_alps.report.group_tables import count_cell, mean_cell, pairs_table, split_families
from bids_alps.report.page import Picture, Result, Table
from bids_alps.statistics.descriptives import UNBALANCED
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.multiplicity import CORRECTED
from bids_alps.statistics.plan import INDICES, PRIMARY_OUTCOME, Plan


def summarize_results(findings: Findings, plan: Plan) -> tuple[Result, ...]:
    """Return the results of the first preset in the order of the page."""
    sections: dict[str, Callable[[], Result | None]] = {
        "Participants and runs analyzed": lambda: _flow(findings),
        f"Difference between groups ({plan.group})": lambda: _groups(findings, plan),
        f"Participants by {plan.group}": lambda: _participants(findings, plan),
        "Change within participants": lambda: changes_result(findings),
        "Sensitivity to analysis choices": lambda: _sensitivity(findings),
        "Further results": lambda: supplementary_results(findings),
    }
    results = []
    for title, work in sections.items():
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - a failing sentence must not cost the page
            problem = f"Not shown because of an error ({type(error).__name__}: {error}); the tables have the results."
            result = Result(title=title, sentences=(problem,))
        if result is not None:
            results.append(result)
    return tuple(results)


def _flow(findings: Findings) -> Result:
    names = {"found": "Identified"}
    rows = tuple(
        (
            names.get(step["step"], capitalize(step["step"])),
            "" if step["step"] == "found" else str(step["excluded_runs"]),
            str(step["runs"]),
            str(step["participants"]),
        )
        for step in findings.flow.steps
        if step["step"] == "found" or step["excluded_runs"] or step["excluded_from"] != "all statistics"
    )
    table = Table(
        title="Flow", columns=("Step", "Runs excluded", "Runs remaining", "Participants remaining"), rows=rows
    )
    return Result(
        title="Participants and runs analyzed",
        sentences=(
            capitalize(findings.flow.sentence),
            "group_exclusions.tsv lists all exclusions with their reasons.",
        ),
        tables=(table,),
    )


def _groups(findings: Findings, plan: Plan) -> Result | None:
    adjusted, compared = result_rows(findings, "adjusted"), result_rows(findings, "comparison")
    if not compared:
        return None
    covariates = findings.facts.get("covariates", ())
    headline = [row for row in adjusted if row["outcome"] == PRIMARY_OUTCOME]
    sentences = _omnibus_sentences(findings, covariates)
    sentences += [_adjusted_sentence(row, covariates) for row in headline]
    if not headline:
        sentences += [_compared_sentence(row) for row in compared if row["outcome"] == PRIMARY_OUTCOME]
    sentences += [
        _equivalence_sentence(row) for row in result_rows(findings, "equivalence") if row["outcome"] == PRIMARY_OUTCOME
    ]
    if "compared_at" in findings.facts:
        sentences.append(f"Groups were compared at {findings.facts['compared_at']}.")
    adjustment = f"Adjusted for {join_names(covariates)}" if covariates else "Linear model without covariates"
    indices, others = split_families(adjusted)
    raw_indices, raw_others = split_families(compared)
    tables = (
        [pairs_table(indices, adjustment, with_unadjusted=bool(covariates))]
        if indices
        else [pairs_table(raw_indices, "Unadjusted")]
    )
    folded = [pairs_table(rows, f"{title}, {adjustment[:1].lower()}{adjustment[1:]}") for title, rows in others.items()]
    folded += [pairs_table(raw_indices, "Index, unadjusted")] if indices else []
    folded += [pairs_table(rows, f"{title}, unadjusted") for title, rows in raw_others.items()]
    picture = _groups_picture(findings, plan)
    return Result(
        title=f"Difference between groups ({plan.group})",
        sentences=tuple(sentences),
        tables=tuple(tables),
        pictures=(picture,) if picture else (),
        folded=tuple(folded),
    )


def _groups_picture(findings: Findings, plan: Plan) -> Picture | None:
    people, means = findings.people, findings.tables.get("means")
    names = findings.facts.get("groups", [])
    if not len(people) or plan.group is None or not names:
        return None
    values = {
        name: {outcome: people.loc[people[plan.group] == name, outcome].to_numpy(dtype=float) for outcome in INDICES}
        for name in names
    }
    adjusted = None if means is None else means[means["outcome"].isin(INDICES)]
    svg = figures_statistics.draw_groups(values, adjusted)
    caption = "One point per participant"
    caption += "." if adjusted is None or adjusted.empty else "; diamonds are adjusted means with 95 % intervals."
    if "harmonized" in findings.facts:
        caption += " Values are harmonized, as in the tests."
    return chart_picture("The index by group", caption, svg)


def _omnibus_sentences(findings: Findings, covariates: Sequence[str]) -> list[str]:
    rows = [row for row in result_rows(findings, "omnibus") if row["outcome"] == PRIMARY_OUTCOME]
    tests = []
    for row in rows:
        letter = "H" if row["test"] == "Kruskal-Wallis" else "F"
        adjustment = f"adjusted for {join_names(covariates)}" if covariates else "linear model"
        model = "unadjusted" if row["covariates"] == "unadjusted" else adjustment
        tests.append(f"{letter} = {number_or_dash(row['statistic'])}, {describe_p(row['p'])} ({row['test']}, {model})")
    return [f"Over all {int(rows[0]['groups'])} groups: {'; '.join(reversed(tests))}."] if tests else []


def _adjusted_sentence(row: Row, covariates: Sequence[str]) -> str:
    adjustment = f", adjusted for {join_names(covariates)}" if covariates else ""
    unadjusted = (
        f"unadjusted {format_value(row['unadjusted_difference'], sign=True)}, {describe_p(row['unadjusted_p'])}"
    )
    unweighted = " (unweighted)" if "precision" in str(row["method"]) else ""
    permuted = (
        f", by permutation{unweighted} {format_p(row['p_permutation'])}"
        if isinstance(row.get("p_permutation"), float)
        else ""
    )
    return (
        f"{_verdict(row)}{adjustment}: difference {format_interval(row, 'difference')}, {describe_p(row['p'])}, "
        "corrected "
        f"{format_p(row[CORRECTED])}{permuted}{f' ({unadjusted})' if covariates else ''}."
    )


def _verdict(row: Row) -> str:
    a, b = row["group_a"], row["group_b"]
    if row[CORRECTED] < ALPHA:
        return f"The bilateral index was {'lower' if row['difference'] < 0 else 'higher'} in {b} than in {a}"
    return (
        f"No significant difference in the bilateral index between {b} and {a} (which is not evidence of equivalence)"
    )


def _compared_sentence(row: Row) -> str:
    if row["test"] == "none":
        return f"{row['group_b']} and {row['group_a']} cannot be compared: n = {int(row['n_a'])} + {int(row['n_b'])}."
    return (
        f"{_verdict(row)}, unadjusted: difference {format_interval(row, 'difference')}, {describe_p(row['p'])}, "
        "corrected "
        f"{format_p(row[CORRECTED])} ({row['test']}, n = {int(row['n_a'])} + {int(row['n_b'])})."
    )


def _equivalence_sentence(row: Row) -> str:
    verdict = "are equivalent" if row["p_equivalence"] < ALPHA else "were not shown to be equivalent"
    return (
        f"The groups {row['group_a']} and {row['group_b']} {verdict} within ±{row['margin']:g} of the index "
        f"(two one-sided tests, {describe_p(row['p_equivalence'])})."
    )


def _participants(findings: Findings, plan: Plan) -> Result | None:
    compared = {str(row["variable"]): row for row in result_rows(findings, "participants")}
    described = findings.tables.get("description")
    if not compared or described is None:
        return None
    names = [str(name) for name in findings.facts.get("groups", [])]
    rows = []
    for variable, test in compared.items():
        part = described[described["variable"] == variable]
        difference = test["standardized_difference"]
        test_cells = (format_p(test["p"]), number_or_dash(difference), str(test["test"]))
        if test["type"] == "number":
            rows.append((variable, *(mean_cell(part, name) for name in names), *test_cells))
            continue
        levels = sorted(part["level"].dropna().unique())
        if len(levels) == 2:
            rows.append(
                (f"{variable}: {levels[0]}", *(count_cell(part, name, levels[0]) for name in names), *test_cells)
            )
            continue
        rows.append((variable, *("" for _ in names), *test_cells))
        rows += [
            (f"  {variable}: {level}", *(count_cell(part, name, level) for name in names), "", "", "")
            for level in levels
        ]
    unbalanced = [name for name, row in compared.items() if abs(row["standardized_difference"]) > UNBALANCED]
    imbalance = (
        f"Standardized differences between groups exceed {UNBALANCED} for {join_names(unbalanced)}."
        if unbalanced
        else ""
    )
    balanced = f"No standardized difference between groups exceeds {UNBALANCED}."
    table = Table(
        title="Mean (SD) or count (percent)",
        columns=("Variable", *names, "p", "Standardized difference", "Test"),
        rows=tuple(rows),
        note="p-values are uncorrected. The standardized difference measures balance independently of sample size.",
    )
    return Result(title=f"Participants by {plan.group}", sentences=(imbalance or balanced,), tables=(table,))


def _sensitivity(findings: Findings) -> Result | None:
    rows = result_rows(findings, "sensitivity")
    if not rows:
        return None
    pairs = dict.fromkeys((row["group_a"], row["group_b"]) for row in rows)
    sentences = []
    for a, b in pairs:
        pair_rows = [row for row in rows if (row["group_a"], row["group_b"]) == (a, b)]
        significant = sum(row["p"] < ALPHA for row in pair_rows)
        low, high = min(row["difference"] for row in pair_rows), max(row["difference"] for row in pair_rows)
        sentences.append(
            f"{b} minus {a}: between {format_value(low, sign=True)} and {format_value(high, sign=True)} across "
            f"{len(pair_rows)} "
            f"specifications of the analysis; p < 0.05 in {significant} of them."
        )
    first = next(iter(pairs))
    pair_rows = [row for row in rows if (row["group_a"], row["group_b"]) == first]
    svg = figures_statistics.draw_specifications(pair_rows)
    caption = (
        f"One point per specification of the difference {first[1]} minus {first[0]}, sorted; the large point is the "
        "primary analysis."
    )
    return Result(
        title="Sensitivity to analysis choices",
        sentences=tuple(sentences),
        pictures=(chart_picture("Specification curve", caption, svg),),
    )
