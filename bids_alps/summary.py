"""Summary of an execution: number of runs by status, checks that failed or warned, reports and next steps."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from bids_alps.model import STATUSES, Status, worst_status
from bids_alps.participant import Outcome, participant_of
from bids_alps.settings import Settings

_WORDS: dict[Status, str] = {"pass": "passed", "warn": "with warnings", "fail": "with failed checks"}
_MANY = 8


def summarize(outcomes: Sequence[Outcome], settings: Settings, reprocessed: Mapping[str, int]) -> list[str]:
    """Return the lines of the summary.

    Parameters
    ----------
    outcomes
        Outcomes of the runs.
    settings
        Settings with the output folder.
    reprocessed
        Number of runs that were processed again, by reason.
    """
    output_dir = settings.request.output_dir.absolute()
    runs = [
        outcome for outcome in outcomes if outcome.selected and not outcome.name.endswith(("_page", "_longitudinal"))
    ]
    checks = {outcome.name: read_checks(output_dir, outcome.name) for outcome in runs if not outcome.exit_code}
    lines = [_counts(runs, checks)] if runs else []
    lines += [f"Processed again: {_plural(count, 'run')}, {reason}." for reason, count in sorted(reprocessed.items())]
    lines += _flagged(checks)
    # asked for, but no participant has two comparable sessions
    if settings.request.longitudinal and not any(outcome.name.endswith("_longitudinal") for outcome in outcomes):
        lines.append("--longitudinal compared nothing: no participant has runs that differ only in the session.")
    failed = [outcome for outcome in outcomes if outcome.exit_code]
    if failed:
        listed = _listed([outcome.name for outcome in failed])
        lines.append(
            f"{len(failed)} of {_plural(len(outcomes), 'run')} failed: {listed}; see "
            f"{summary_path(settings).absolute()} and the crash files in {output_dir / 'logs'}."
        )
    names = dict.fromkeys(f"sub-{participant_of(outcome.name)}.html" for outcome in outcomes)
    pages = [name for name in names if (output_dir / name).is_file()]
    if len(pages) == 1:
        lines.append(f"Report: {output_dir / pages[0]}")
    elif pages:
        lines.append(f"Reports: {output_dir}/sub-*.html ({len(pages)})")
    lines.append(_next(settings, runs, checks))
    return [line for line in lines if line]


def summary_path(settings: Settings) -> Path:
    """Return the path of the table of all outcomes of this execution."""
    return settings.request.output_dir / "logs" / f"summary-{settings.execution.run_uuid}.tsv"


def read_checks(output_dir: Path, run: str) -> dict[str, Status]:
    """Return the status of each quality check of a run (the worst over presets), by the name of the check."""
    worst: dict[str, Status] = {}
    folder = output_dir / f"sub-{participant_of(run)}"
    for path in sorted(folder.glob(f"**/dwi/{run}_desc-quality_scalarstats.tsv")):
        with path.open(encoding="utf-8", newline="") as stream:  # ten times faster than a data frame
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                name, status = str(row.get("name")), row.get("status")
                if status in STATUSES:
                    worst[name] = worst_status([cast("Status", status), worst.get(name, "pass")])
    return worst


def _counts(runs: Sequence[Outcome], checks_by_run: Mapping[str, Mapping[str, Status]]) -> str:
    count = Counter(worst_status(checks.values()) for checks in checks_by_run.values())
    parts = [f"{count[status]} {label}" for status, label in _WORDS.items() if count[status]]
    failed = sum(bool(outcome.exit_code) for outcome in runs)
    parts += [f"{failed} without a result"] if failed else []
    same = sum(outcome.up_to_date for outcome in runs)
    return f"{_plural(len(runs), 'run')}: {', '.join(parts)}." + (
        f" {same} of them {'was' if same == 1 else 'were'} up to date." if same else ""
    )


def _flagged(checks_by_run: Mapping[str, Mapping[str, Status]]) -> Iterator[str]:
    for status, words in (("fail", "failed"), ("warn", "warned")):
        count = Counter(
            name for checks in checks_by_run.values() for name, result in checks.items() if result == status
        )
        if count:
            yield (
                f"Checks that {words}: " + ", ".join(f"{name} ({number})" for name, number in count.most_common()) + "."
            )


def _next(settings: Settings, runs: Sequence[Outcome], checks_by_run: Mapping[str, Mapping[str, Status]]) -> str:
    """Return the next steps."""
    doubtful = sorted(name for name, checks in checks_by_run.items() if worst_status(checks.values()) != "pass")
    look = f"check the reports of {_listed(doubtful)}" if doubtful else ""
    failed = any(outcome.exit_code for outcome in runs)
    again = "fix the errors and run the command again: finished runs are kept" if failed else ""
    request = settings.request
    group = f"bids-alps {request.bids_dir} {request.output_dir} group" if len(checks_by_run) > 1 else ""
    steps = [step for step in (look, again, group) if step]
    return f"Next: {'; then '.join(steps)}" if steps else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(names[:_MANY]) + more


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
