"""The end of a study in a few lines: counts by status, the checks behind them, where the pages lie, what comes next."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bids_alps.model import STATUSES
from bids_alps.participant import Outcome, participant_of
from bids_alps.settings import Settings

_WORDS = {"pass": "passed", "warn": "to look at closer", "fail": "not to be trusted"}
_MANY = 8


def summarise(outcomes: Sequence[Outcome], settings: Settings, redone: Mapping[str, int]) -> list[str]:
    """Return the lines that end a study.

    Parameters
    ----------
    outcomes
        What became of its runs.
    settings
        Where the output is.
    redone
        Why runs were done again, with how many of them.
    """
    output_dir = settings.request.output_dir.absolute()
    runs = [
        outcome for outcome in outcomes if outcome.selected and not outcome.name.endswith(("_page", "_longitudinal"))
    ]
    done = {outcome.name: read_checks(output_dir, outcome.name) for outcome in runs if not outcome.exit_code}
    lines = [_counts(runs, done)] if runs else []
    lines += [f"Done again: {_plural(count, 'run')}, {reason}." for reason, count in sorted(redone.items())]
    lines += _flagged(done)
    failed = [outcome for outcome in outcomes if outcome.exit_code]
    if failed:
        lines.append(
            f"{len(failed)} of {_plural(len(outcomes), 'run')} failed: {_listed([one.name for one in failed])}; see "
            f"{summary_path(settings).absolute()} and the crash files in {output_dir / 'logs'}."
        )
    lines += _pages(output_dir, outcomes)
    lines.append(_next(settings, runs, done))
    return [line for line in lines if line]


def summary_path(settings: Settings) -> Path:
    """Return where the table of all outcomes of this execution goes."""
    return settings.request.output_dir / "logs" / f"summary-{settings.execution.run_uuid}.tsv"


def read_checks(output_dir: Path, run: str) -> dict[str, str]:
    """Return the status of each quality check of a run, the worst of its presets, by the name of the check."""
    found: dict[str, str] = {}
    folder = output_dir / f"sub-{participant_of(run)}"
    for path in sorted(folder.glob(f"**/dwi/{run}_desc-quality_scalarstats.tsv")):
        with path.open(encoding="utf-8", newline="") as stream:  # a data frame takes ten times as long
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                name, status = str(row.get("name")), str(row.get("status"))
                if status in STATUSES:
                    found[name] = max(status, found.get(name, "pass"), key=STATUSES.index)
    return found


def _worst(checks: Mapping[str, str]) -> str:
    return max(checks.values(), key=STATUSES.index, default="pass")


def _counts(runs: Sequence[Outcome], done: Mapping[str, Mapping[str, str]]) -> str:
    count = Counter(_worst(checks) for checks in done.values())
    told = [f"{count[status]} {words}" for status, words in _WORDS.items() if count[status]]
    failed = sum(bool(outcome.exit_code) for outcome in runs)
    told += [f"{failed} without a result"] if failed else []
    same = sum(outcome.up_to_date for outcome in runs)
    return f"{_plural(len(runs), 'run')}: {', '.join(told)}." + (
        f" {same} of them {'was' if same == 1 else 'were'} up to date." if same else ""
    )


def _flagged(done: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for status, words in (("fail", "failed"), ("warn", "warned")):
        count = Counter(name for checks in done.values() for name, found in checks.items() if found == status)
        if count:
            yield (
                f"Checks that {words}: " + ", ".join(f"{name} ({number})" for name, number in count.most_common()) + "."
            )


def _pages(output_dir: Path, outcomes: Sequence[Outcome]) -> Iterator[str]:
    names = dict.fromkeys(f"sub-{participant_of(outcome.name)}.html" for outcome in outcomes)
    there = [name for name in names if (output_dir / name).is_file()]
    if len(there) == 1:
        yield f"Page: {output_dir / there[0]}"
    elif there:
        yield f"Pages: {output_dir}/sub-*.html ({len(there)})"


def _next(settings: Settings, runs: Sequence[Outcome], done: Mapping[str, Mapping[str, str]]) -> str:
    """Return what to do now."""
    doubtful = sorted(name for name, checks in done.items() if _worst(checks) != "pass")
    look = f"look at the pages of {_listed(doubtful)}" if doubtful else ""
    failed = any(outcome.exit_code for outcome in runs)
    again = "mend what failed and start again: finished runs are kept" if failed else ""
    request = settings.request
    group = f"bids-alps {request.bids_dir} {request.output_dir} group" if len(done) > 1 else ""
    steps = [step for step in (look, again, group) if step]
    return f"Next: {'; then '.join(steps)}" if steps else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(names[:_MANY]) + more


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
