"""Who is in: every run that statistics leave out, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bids_alps.errors import UsageError
from bids_alps.statistics.comparability import find_comparable
from bids_alps.statistics.plan import HEADLINE, INDICES, Plan
from bids_alps.statistics.repeats import person_of

LEFT_OUT = ("fail",)
"""Statuses that statistics leave out unless they are asked for."""
EVERYTHING = "all statistics"
COMPARISON = "comparison of groups"


@dataclass(slots=True)
class Flow:
    """How runs become fewer from step to step.

    Parameters
    ----------
    steps
        Rows ``step, lost_runs, lost_participants, runs, participants``: what a step takes away, and what stays.
    lost
        Runs that something leaves out: index in the table, what it is left out of, and why.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    lost: list[tuple[Any, str, str]] = field(default_factory=list)

    def take(
        self, runs: pd.DataFrame, out: pd.Series[bool], step: str, reasons: Any, *, of: str = EVERYTHING
    ) -> pd.DataFrame:
        """Return the runs that stay; the others are noted.

        Parameters
        ----------
        runs
            One row a run.
        out
            Which of them leave.
        step
            Name of the step.
        reasons
            Why, one for all or one a run.
        of
            What they are left out of.
        """
        gone, kept = runs[out.to_numpy(dtype=bool)], runs[~out.to_numpy(dtype=bool)]
        self.note(gone.index, reasons, of=of)
        left = set(person_of(kept)) if len(kept) else set()
        lost = set(person_of(gone)) - left if len(gone) else set()
        self.steps.append(
            {
                "step": step,
                "left_out_of": of,
                "lost_runs": len(gone),
                "lost_participants": len(lost),
                "runs": len(kept),
                "participants": len(left),
            }
        )
        return kept

    def note(self, rows: Sequence[Any] | pd.Index[Any], reasons: Any, *, of: str) -> None:
        """Note runs that are left out of something without a step of their own."""
        self.lost += [(row, of, reasons if isinstance(reasons, str) else str(reasons[row])) for row in rows]

    @property
    def sentence(self) -> str:
        """The flow in one sentence."""
        if not self.steps:
            return ""
        first, *others = self.steps
        lost = [f"{step['lost_runs']} {step['step']}" for step in others if step["lost_runs"]]
        end = self.steps[-1]
        parts = [f"{first['runs']} runs of {first['participants']} participants found", *lost]
        if end["left_out_of"] == COMPARISON:
            return f"{'; '.join(parts)}; {end['participants']} participants compared."
        return f"{'; '.join(parts)}; {end['runs']} runs of {end['participants']} participants analysed."


def select_runs(runs: pd.DataFrame, plan: Plan) -> tuple[pd.DataFrame, Flow, list[str]]:
    """Return the runs of one preset that any statistic may take, the flow to them, and banners.

    Parameters
    ----------
    runs
        One row a run.
    plan
        What to include, which subset, and which differences of method to accept.

    Raises
    ------
    UsageError
        If the condition of the subset cannot be used.
    """
    flow, banners = Flow(), list[str]()
    kept = flow.take(runs, pd.Series(False, index=runs.index), "found", "")
    excluded = [status for status in LEFT_OUT if status not in plan.included]
    failed = kept["status"].isin(excluded)
    kept = flow.take(kept, failed, "failed their checks", _why_failed(kept))
    kept = _with_withheld(kept) if "fail" in plan.included else kept
    if "rating" in kept:
        kept = flow.take(kept, kept["rating"] == "drop", "rated drop", _why_dropped(kept))
    kept = flow.take(kept, kept[HEADLINE].isna(), "without an index", "no bilateral index")
    if plan.subset is not None:
        inside = find_subset(kept, plan.subset)
        kept = flow.take(kept, ~inside, "outside the subset", f"not in the subset {plan.subset}")
    if len(kept):
        comparable = find_comparable(kept, plan.pooled)
        if comparable.banner:
            banners.append(comparable.banner)
        reasons = comparable.reasons.replace("", "no way of measuring has most of the runs")
        kept = flow.take(kept, ~comparable.kept, "measured differently", reasons)
    return kept, flow, banners


def _with_withheld(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with the index that a failed check withheld in the place of the missing one."""
    columns = {name: f"{name}_unreliable" for name in INDICES}
    known = {name: runs[name].fillna(runs[withheld]) for name, withheld in columns.items() if withheld in runs}
    return runs.assign(**known)


def _why_failed(runs: pd.DataFrame) -> Mapping[Any, str]:
    checks = runs["checks_failed"] if "checks_failed" in runs else pd.Series("n/a", index=runs.index)
    return {
        row: f"status {status}" + (f" ({why})" if isinstance(why, str) and why not in ("none", "n/a") else "")
        for row, status, why in zip(runs.index, runs["status"], checks, strict=True)
    }


def _why_dropped(runs: pd.DataFrame) -> Mapping[Any, str]:
    notes = zip(runs.index, runs["rating_note"], strict=True)
    return {row: "rated drop" + (f": {note}" if isinstance(note, str) and note else "") for row, note in notes}


def find_subset(runs: pd.DataFrame, condition: str) -> pd.Series[bool]:
    """Return which runs meet a condition such as ``group == 'RLS' and age > 40``.

    Raises
    ------
    UsageError
        If the condition names no column or is none.
    """
    try:
        chosen = runs.query(condition, engine="python")
    except Exception as error:
        told = str(error).split("\n")[0]
        raise UsageError("--subset", f"{condition!r} cannot be used ({told})", "write column == 'value'") from error
    if not isinstance(chosen, pd.DataFrame):
        raise UsageError("--subset", f"{condition!r} is no condition", "write column == 'value'")
    found: pd.Series[bool] = pd.Series(runs.index.isin(chosen.index), index=runs.index)
    return found
