"""Methods text of the group level, generated from the analyses that were run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bids_alps import __version__
from bids_alps.report.group_format import capitalize, join_names
from bids_alps.report.methods import cite
from bids_alps.report.page import CAVEAT, MethodsText
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.plan import Plan

_TESTS = {
    "rule": "Welch's t-test ([@welch1947]) where every group had 30 values or more or passed the Shapiro-Wilk test "
    "([@shapiro1965]; p of 0.05 or more), otherwise the Mann-Whitney test ([@mann1947]) with the Hodges-"
    "Lehmann shift ([@hodges1963])",
    "welch": "Welch's t-test ([@welch1947])",
    "student": "Student's t-test; categories by the N-1 chi-square test ([@campbell2007])",
    "mann-whitney": "the Mann-Whitney test ([@mann1947]) with the Hodges-Lehmann shift ([@hodges1963])",
}


def write_group_methods(findings: Findings, plan: Plan, participants: Sequence[str] = ()) -> MethodsText:
    """Return the methods text of a cohort with its references.

    Parameters
    ----------
    findings
        Findings for the first preset.
    plan
        Plan of the analysis.
    participants
        Paragraphs on the processing of the runs, from `draft_methods`.
    """
    if not findings.flow.steps:
        return MethodsText()
    parts = (_who(findings, plan), _groups(findings, plan), _beside(findings, plan), _within(findings), _more(findings))
    drafts = [" ".join(part) for part in parts]
    ending = (
        f"Computed with bids-alps {__version__}, statsmodels ([@seabold2010]) and SciPy ([@virtanen2020]). {CAVEAT}"
    )
    return cite([*participants, *(draft for draft in drafts if draft), ending])


def _who(findings: Findings, plan: Plan) -> Iterator[str]:
    yield capitalize(findings.flow.sentence)
    if plan.included:
        yield f"Runs of status {join_names(plan.included)} were included."
    if plan.subset is not None:
        yield f"The analysis was restricted to {plan.subset}."
    if plan.pooled:
        yield f"Runs that differ in {join_names(plan.pooled)} were pooled."
    if "harmonized" in findings.facts:
        protected = findings.facts["protected"]
        yield (
            f"Values were harmonized over {findings.facts['harmonized']} by ComBat ([@johnson2007]; [@fortin2017]), "
            f"protecting {join_names(protected)}; tests of harmonized values do not account for the degrees of "
            "freedom used by harmonization ([@nygaard2016])."
        )


def _groups(findings: Findings, plan: Plan) -> Iterator[str]:
    tables, facts = findings.tables, findings.facts
    if "adjusted" in tables:
        covariates = facts.get("covariates", ())
        held = f"with {join_names(covariates)} as covariates" if covariates else "without covariates"
        robust = tables["adjusted"]["method"].iloc[0] == "least squares, HC3 errors"
        errors = " and HC3 standard errors ([@mackinnon1985])" if robust else ""
        weights = ", participants weighted by 1 / (tau² + se²) with Knapp-Hartung errors ([@knapp2003])"
        yield (
            f"Groups ({plan.group}) were compared by linear models {held}, estimated marginal means ([@searle1980])"
            f"{errors}{weights if plan.precision else ''}."
        )
    if "comparison" in tables:
        yield f"Unadjusted, they were compared by {_TESTS[plan.test]}; effects are Hedges' g ([@hedges1981])."
        used = set(tables["omnibus"]["test"]) if "omnibus" in tables else set()
        sources = {"Welch's ANOVA": " ([@welch1951])", "Kruskal-Wallis": " ([@kruskal1952])"}
        named = [f"{test}{sources.get(test, '')}" for test in sorted(used - {"none"})]
        if named:
            yield f"More than two groups were first tested together ({'; '.join(named)})."
        yield (
            "P-values were corrected over all outcomes and pairs of groups, within the three indices and within the "
            "nine diffusivities, by Bonferroni, Holm ([@holm1979]) and Benjamini-Hochberg ([@benjamini1995])."
        )


def _beside(findings: Findings, plan: Plan) -> Iterator[str]:
    tables = findings.tables
    if "adjusted" in tables and "p_permutation" in tables["adjusted"]:
        unweighted = ", participants unweighted" if plan.precision else ""
        yield (
            f"P-values of the index were also computed with {plan.permutations} permutations of residuals "
            f"([@freedman1983]; seed {plan.seed}{unweighted})."
        )
    if "participants" in tables:
        yield "Balance of the groups was assessed by standardized differences ([@austin2009])."
    if "equivalence" in tables:
        yield f"Equivalence within ±{plan.margin:g} was tested by two one-sided tests ([@schuirmann1987])."
    if "discrimination" in tables:
        yield "Areas under ROC curves have DeLong intervals ([@delong1988]) and are in-sample estimates."
    if "sensitivity" in tables:
        count = len(tables["sensitivity"].drop_duplicates(["roi_preset", "statuses", "covariates", "pose"]))
        yield f"The comparison was repeated with {count} specifications (specification curve; [@simonsohn2020])."


def _within(findings: Findings) -> Iterator[str]:
    if "within" not in findings.tables:
        return
    used = set(findings.tables["within"]["test"]) - {"none"}
    if not used:
        return
    source = " ([@wilcoxon1945])" if "Wilcoxon" in used else ""
    tests = join_names(sorted(used))
    factor = findings.facts.get("factor", "session")
    yield f"Changes within participants ({factor}) were tested on complete pairs ({tests}{source})."
    if "interaction" in findings.tables:
        yield "Group differences in change were tested on the individual changes."


def _more(findings: Findings) -> Iterator[str]:
    tables = findings.tables
    if "correlations" in tables:
        kinds = set(tables["correlations"]["kind"])
        extra = ", controlling for age" if "partial" in kinds else ""
        extra += ", and after removing group means" if "within" in kinds else ""
        yield f"Numeric variables were correlated with the outcomes (Pearson and Spearman{extra})."
    if "models" in tables:
        for kind, part in tables["models"].groupby("kind", sort=False):
            formulas = join_names(dict.fromkeys(part["model"]))
            if str(kind).startswith("mixed"):
                yield (
                    f"Fitted by restricted maximum likelihood ([@bates2015]) with Satterthwaite degrees of freedom "
                    f"([@kuznetsova2017]), {str(kind).split(',')[1].strip()}: {formulas}."
                )
            else:
                errors = " ([@mackinnon1985])" if "HC3" in str(kind) else ""
                yield f"Fitted by {kind}{errors}: {formulas}."
    if "reliability" in tables:
        yield "Reliability is ICC(2,1) and ICC(3,1) ([@shrout1979]) with limits of agreement ([@bland1986])."
    if "precision" in tables:
        yield (
            "The variance between participants was estimated by restricted maximum likelihood, given the standard "
            "errors of the individual values."
        )
    if "norms" in tables:
        yield f"{findings.facts['norms']} Scores account for the error of prediction ([@cook1982])."
