"""Selection of runs: inclusions, and exclusions with their reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bids_alps.errors import UsageError
from bids_alps.statistics.comparability import find_comparable
from bids_alps.statistics.plan import INDICES, PRIMARY_OUTCOME, Plan
from bids_alps.statistics.repeats import participant_key

LEFT_OUT = ("fail",)
"""Statuses excluded from the statistics by default."""
REPEATED = "_repeated_in"
"""Name of an earlier dataset that has the same run; without this column, no run is in several datasets."""
EVERYTHING = "all statistics"
COMPARISON = "comparison of groups"


@dataclass(slots=True)
class Flow:
    """Flow of runs through the exclusion steps.

    Parameters
    ----------
    steps
        Rows ``step, excluded_runs, excluded_participants, runs, participants``: exclusions of each step, and remaining
        runs.
    lost
        Excluded runs: index in the table, analysis from which they are excluded, and reason.
    compared
        Whether groups of participants are compared.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    lost: list[tuple[Any, str, str]] = field(default_factory=list)
    compared: bool = True

    def take(
        self, runs: pd.DataFrame, out: pd.Series[bool], step: str, reasons: Any, *, of: str = EVERYTHING
    ) -> pd.DataFrame:
        """Return the remaining runs; exclusions are recorded.

        Parameters
        ----------
        runs
            One row per run.
        out
            Runs to exclude, bool.
        step
            Name of the step.
        reasons
            Reasons, one for all or one per run.
        of
            Analysis from which they are excluded.
        """
        excluded, remaining = runs[out.to_numpy(dtype=bool)], runs[~out.to_numpy(dtype=bool)]
        self.note(excluded.index, reasons, of=of)
        # a participant is lost with the last of their runs
        remaining_people = set(participant_key(remaining)) if len(remaining) else set()
        lost_people = set(participant_key(excluded)) - remaining_people if len(excluded) else set()
        self.steps.append(
            {
                "step": step,
                "excluded_from": of,
                "excluded_runs": len(excluded),
                "excluded_participants": len(lost_people),
                "runs": len(remaining),
                "participants": len(remaining_people),
            }
        )
        return remaining

    def note(self, rows: Sequence[Any] | pd.Index[Any], reasons: Any, *, of: str) -> None:
        """Record exclusions that are not a step of the flow."""
        self.lost += [(row, of, reasons if isinstance(reasons, str) else str(reasons[row])) for row in rows]

    @property
    def sentence(self) -> str:
        """Flow as one sentence."""
        if not self.steps:
            return ""
        first, *others = self.steps
        lost = [f"{step['excluded_runs']} {step['step']}" for step in others if step["excluded_runs"]]
        end = self.steps[-1]
        parts = [f"{first['runs']} runs of {first['participants']} participants identified", *lost]
        if end["excluded_from"] == COMPARISON and self.compared:
            return f"{'; '.join(parts)}; {end['participants']} participants compared."
        return f"{'; '.join(parts)}; {end['runs']} runs of {end['participants']} participants analyzed."


def select_runs(runs: pd.DataFrame, plan: Plan) -> tuple[pd.DataFrame, Flow, list[str]]:
    """Return the runs of one preset that are eligible for statistics, their flow, and banners.

    Parameters
    ----------
    runs
        One row per run.
    plan
        Statuses to include, subset, and accepted differences of method.

    Raises
    ------
    UsageError
        If the condition of the subset cannot be used.
    """
    flow, banners = Flow(), list[str]()
    selected = flow.take(runs, pd.Series(False, index=runs.index), "found", "")
    if REPEATED in selected:
        doubled = {row: f"the same run as in dataset {name}" for row, name in selected[REPEATED].items()}
        selected = flow.take(selected, selected[REPEATED].notna(), "pooled twice", doubled)
        doubles = sorted(participant_key(runs[runs[REPEATED].notna()]).unique())
        if doubles:
            shown = ", ".join(doubles[:5]) + (" and others" if len(doubles) > 5 else "")
            banners.append(f"Participants with runs in two datasets, which are counted once: {len(doubles)} ({shown}).")
    excluded = [status for status in LEFT_OUT if status not in plan.included]
    failed = selected["status"].isin(excluded)
    selected = flow.take(selected, failed, "failed their checks", _why_failed(selected))
    if "fail" in plan.included:  # restore the withheld values of the index
        columns = {name: f"{name}_unreliable" for name in INDICES if f"{name}_unreliable" in selected}
        restored = {name: selected[name].fillna(selected[withheld]) for name, withheld in columns.items()}
        selected = selected.assign(**restored)
    if "rating" in selected:
        notes = selected["rating_note"].items()
        why = {row: f"rated drop: {note}" if isinstance(note, str) and note else "rated drop" for row, note in notes}
        selected = flow.take(selected, selected["rating"] == "drop", "rated drop", why)
    selected = flow.take(selected, selected[PRIMARY_OUTCOME].isna(), "without an index", "no bilateral index")
    if plan.subset is not None:
        inside = find_subset(selected, plan.subset)
        selected = flow.take(selected, ~inside, "outside the subset", f"not in the subset {plan.subset}")
    if len(selected):
        comparable = find_comparable(selected, plan.pooled)
        if comparable.banner:
            banners.append(comparable.banner)
        reasons = comparable.reasons.replace("", "no method accounts for most of the runs")
        selected = flow.take(selected, ~comparable.kept, "processed with a different method", reasons)
    return selected, flow, banners


def _why_failed(runs: pd.DataFrame) -> Mapping[Any, str]:
    checks = runs["checks_failed"] if "checks_failed" in runs else pd.Series("n/a", index=runs.index)
    return {
        row: f"status {status}" + (f" ({why})" if isinstance(why, str) and why not in ("none", "n/a") else "")
        for row, status, why in zip(runs.index, runs["status"], checks, strict=True)
    }


def find_subset(runs: pd.DataFrame, condition: str) -> pd.Series[bool]:
    """Return the runs that meet a condition such as ``group == 'RLS' and age > 40``.

    Raises
    ------
    UsageError
        If the condition is invalid or names unknown columns.
    """
    try:
        matching = runs.query(condition, engine="python")
    except Exception as error:
        message = str(error).split("\n")[0]
        raise UsageError("--subset", f"{condition!r} cannot be used ({message})", "write column == 'value'") from error
    if not isinstance(matching, pd.DataFrame):
        raise UsageError("--subset", f"{condition!r} is not a condition", "write column == 'value'")
    selected: pd.Series[bool] = pd.Series(runs.index.isin(matching.index), index=runs.index)
    return selected
