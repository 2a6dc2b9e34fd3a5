"""What was found in a cohort, question by question: sentences, the numbers beside them, figures."""

from __future__ import annotations

from collections.abc import Sequence

from bids_alps.report import figures_statistics
from bids_alps.report.group_more import rows_of, tell_more
from bids_alps.report.group_tables import changes_table, count_cell, mean_cell, pairs_table, split_families
from bids_alps.report.group_words import (
    Row,
    capital,
    interval,
    listed,
    measure,
    number_or_dash,
    p_value,
    p_words,
)
from bids_alps.report.page import Picture, Result, Table
from bids_alps.statistics.descriptives import UNBALANCED
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.multiplicity import CORRECTED
from bids_alps.statistics.plan import HEADLINE, INDICES, Plan

_ALPHA = 0.05


def tell_results(findings: Findings, plan: Plan) -> tuple[Result, ...]:
    """Return the results of the first preset in the order of the page."""
    told = [
        _flow(findings),
        _groups(findings, plan),
        _participants(findings, plan),
        _changes(findings),
        _sensitivity(findings),
        *tell_more(findings),
    ]
    return tuple(result for result in told if result is not None)


def _flow(findings: Findings) -> Result:
    names = {"found": "Found"}
    rows = tuple(
        (
            names.get(step["step"], capital(step["step"])),
            "" if step["step"] == "found" else str(step["lost_runs"]),
            str(step["runs"]),
            str(step["participants"]),
        )
        for step in findings.flow.steps
        if step["step"] == "found" or step["lost_runs"] or step["left_out_of"] != "all statistics"
    )
    table = Table(
        title="Flow", columns=("Step", "Runs excluded", "Runs remaining", "Participants remaining"), rows=rows
    )
    return Result(
        title="Who was analysed",
        sentences=(
            capital(findings.flow.sentence),
            "Everyone left out is listed in group_exclusions.tsv with the reason.",
        ),
        tables=(table,),
    )


def _groups(findings: Findings, plan: Plan) -> Result | None:
    adjusted, compared = rows_of(findings, "adjusted"), rows_of(findings, "comparison")
    if not compared:
        return None
    covariates = findings.facts.get("covariates", ())
    heads = [row for row in adjusted if row["outcome"] == HEADLINE]
    sentences = _omnibus_sentences(findings, covariates)
    sentences += [_adjusted_sentence(row, covariates) for row in heads]
    if not heads:
        sentences += [_compared_sentence(row) for row in compared if row["outcome"] == HEADLINE]
    sentences += [_equivalence_sentence(row) for row in rows_of(findings, "equivalence") if row["outcome"] == HEADLINE]
    if "compared_at" in findings.facts:
        sentences.append(f"Groups were compared at {findings.facts['compared_at']}.")
    held = f"Adjusted for {listed(covariates)}" if covariates else "Linear model without covariates"
    indices, others = split_families(adjusted)
    raw_indices, raw_others = split_families(compared)
    shown = (
        [pairs_table(indices, held, beside=bool(covariates))] if indices else [pairs_table(raw_indices, "Unadjusted")]
    )
    folded = [pairs_table(rows, f"{title}, {held[:1].lower()}{held[1:]}") for title, rows in others.items()]
    folded += [pairs_table(raw_indices, "Index, unadjusted")] if indices else []
    folded += [pairs_table(rows, f"{title}, unadjusted") for title, rows in raw_others.items()]
    picture = _groups_picture(findings, plan)
    return Result(
        title=f"Difference between groups ({plan.group})",
        sentences=tuple(sentences),
        tables=tuple(shown),
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
    said = "One point a participant; diamonds are adjusted means with their 95 % intervals."
    if "harmonised" in findings.facts:
        said += " Harmonised values, as they were tested."
    return _picture("The index by group", said, svg)


def _picture(title: str, said: str, svg: bytes) -> Picture:
    return Picture(title=title, caption=said, alt=f"{title}. {said}", svg=(svg,), chart=True)


def _omnibus_sentences(findings: Findings, covariates: Sequence[str]) -> list[str]:
    rows = [row for row in rows_of(findings, "omnibus") if row["outcome"] == HEADLINE]
    told = []
    for row in rows:
        letter = "H" if row["test"] == "Kruskal-Wallis" else "F"
        held = f"adjusted for {listed(covariates)}" if covariates else "linear model"
        how = "unadjusted" if row["covariates"] == "unadjusted" else held
        told.append(f"{letter} = {number_or_dash(row['statistic'])}, {p_words(row['p'])} ({row['test']}, {how})")
    return [f"Over all {int(rows[0]['groups'])} groups: {'; '.join(reversed(told))}."] if told else []


def _adjusted_sentence(row: Row, covariates: Sequence[str]) -> str:
    held = f", adjusted for {listed(covariates)}" if covariates else ""
    raw = f"unadjusted {measure(row['unadjusted_difference'], sign=True)}, {p_words(row['unadjusted_p'])}"
    permuted = (
        f", by permutation {p_value(row['p_permutation'])}" if isinstance(row.get("p_permutation"), float) else ""
    )
    return (
        f"{_verdict(row)}{held}: difference {interval(row, 'difference')}, {p_words(row['p'])}, corrected "
        f"{p_value(row[CORRECTED])}{permuted}{f' ({raw})' if covariates else ''}."
    )


def _verdict(row: Row) -> str:
    a, b = row["group_a"], row["group_b"]
    if row[CORRECTED] < _ALPHA:
        return f"The bilateral index was {'lower' if row['difference'] < 0 else 'higher'} in {b} than in {a}"
    return f"No difference of the bilateral index between {b} and {a} was found (no evidence that they are the same)"


def _compared_sentence(row: Row) -> str:
    if row["test"] == "none":
        return f"{row['group_b']} and {row['group_a']} cannot be compared: n = {int(row['n_a'])} + {int(row['n_b'])}."
    return (
        f"{_verdict(row)}, unadjusted: difference {interval(row, 'difference')}, {p_words(row['p'])}, corrected "
        f"{p_value(row[CORRECTED])} ({row['test']}, n = {int(row['n_a'])} + {int(row['n_b'])})."
    )


def _equivalence_sentence(row: Row) -> str:
    alike = "are equivalent" if row["p_equivalence"] < _ALPHA else "were not shown to be equivalent"
    return (
        f"{capital(str(row['group_a']))} and {row['group_b']} {alike} within ±{row['margin']:g} of the index "
        f"(two one-sided tests, {p_words(row['p_equivalence'])})."
    )


def _participants(findings: Findings, plan: Plan) -> Result | None:
    compared = {str(row["variable"]): row for row in rows_of(findings, "participants")}
    described = findings.tables.get("description")
    if not compared or described is None:
        return None
    names = [str(name) for name in findings.facts.get("groups", [])]
    rows = []
    for variable, test in compared.items():
        part = described[described["variable"] == variable]
        spread = test["standardised_difference"]
        ending = (p_value(test["p"]), number_or_dash(spread), str(test["test"]))
        if test["type"] == "number":
            rows.append((variable, *(mean_cell(part, name) for name in names), *ending))
            continue
        levels = sorted(part["level"].dropna().unique())
        if len(levels) == 2:
            rows.append((f"{variable}: {levels[0]}", *(count_cell(part, name, levels[0]) for name in names), *ending))
            continue
        rows.append((variable, *("" for _ in names), *ending))
        rows += [
            (f"  {variable}: {level}", *(count_cell(part, name, level) for name in names), "", "", "")
            for level in levels
        ]
    far = [name for name, row in compared.items() if abs(row["standardised_difference"]) > UNBALANCED]
    said = f"Groups differ by more than {UNBALANCED} standard deviations in {listed(far)}." if far else ""
    good = f"No variable differs by more than {UNBALANCED} standard deviations between groups."
    table = Table(
        title="Mean (SD) or count (percent)",
        columns=("Variable", *names, "p", "Standardised difference", "Test"),
        rows=tuple(rows),
        note="p-values are not corrected. The standardised difference measures balance independently of sample size.",
    )
    return Result(title=f"Participants by {plan.group}", sentences=(said or good,), tables=(table,))


def _changes(findings: Findings) -> Result | None:
    rows = rows_of(findings, "within")
    if not rows:
        return None
    factor, levels = str(findings.facts.get("factor", "session")), findings.facts.get("levels", [])
    heads = [row for row in rows if row["outcome"] == HEADLINE and row["group"] == "all"]
    sentences = [_change_sentence(row) for row in heads]
    apart = [row for row in rows_of(findings, "interaction") if row["outcome"] == HEADLINE]
    sentences += [_interaction_sentence(row) for row in apart]
    indices, others = split_families(rows)
    folded = [changes_table(own, title) for title, own in others.items()]
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
        _picture(
            f"The bilateral index over {factor}",
            "One line a participant; the thick line joins means of complete pairs.",
            svg,
        ),
    )


def _change_sentence(row: Row) -> str:
    if row["test"] == "none":
        pairs = int(row["n_pairs"])
        return f"The change from {row['level_a']} to {row['level_b']} cannot be tested: {pairs} complete pairs."
    changed = "changed" if row[CORRECTED] < _ALPHA else "was not shown to change"
    return (
        f"From {row['level_a']} to {row['level_b']} the bilateral index {changed}: {interval(row, 'change')}; "
        f"{p_words(row['p'])}, corrected {p_value(row[CORRECTED])} ({row['test']}, {int(row['n_pairs'])} complete "
        f"pairs, {int(row['n_incomplete'])} incomplete)."
    )


def _interaction_sentence(row: Row) -> str:
    apart = "differed" if row[CORRECTED] < _ALPHA else "was not shown to differ"
    return (
        f"The change {apart} between {row['group_a']} and {row['group_b']} ({row['level_b']} minus {row['level_a']}): "
        f"{interval(row, 'difference')}; {p_words(row.get('p'))}, corrected {p_value(row[CORRECTED])}."
    )


def _sensitivity(findings: Findings) -> Result | None:
    rows = rows_of(findings, "sensitivity")
    if not rows:
        return None
    pairs = dict.fromkeys((row["group_a"], row["group_b"]) for row in rows)
    sentences = []
    for a, b in pairs:
        own = [row for row in rows if (row["group_a"], row["group_b"]) == (a, b)]
        found = sum(row["p"] < _ALPHA for row in own)
        low, high = min(row["difference"] for row in own), max(row["difference"] for row in own)
        sentences.append(
            f"{b} minus {a}: between {measure(low, sign=True)} and {measure(high, sign=True)} over {len(own)} ways to "
            f"analyse the same data; p below 0.05 in {found} of them."
        )
    first = next(iter(pairs))
    own = [row for row in rows if (row["group_a"], row["group_b"]) == first]
    svg = figures_statistics.draw_specifications(own)
    said = f"{first[1]} minus {first[0]}: one point a way, in order of the difference; the large one is the headline."
    return Result(
        title="Sensitivity to the choices of the analysis",
        sentences=tuple(sentences),
        pictures=(_picture("Specification curve", said, svg),),
    )
