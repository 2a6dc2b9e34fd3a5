"""The story of one participant: find its runs, take each through the stages, tell what became of them."""

from __future__ import annotations

import logging
import resource
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

from bids_alps.consistency import check_run, record_settings
from bids_alps.errors import AlpsError, explain_denied
from bids_alps.io.output import check_links
from bids_alps.io.writing import append_text, is_passing, write_text
from bids_alps.model import DwiRun
from bids_alps.progress import log_stage
from bids_alps.provenance import (
    clear_run,
    describe_longitudinal_provenance,
    describe_provenance,
    explain_redo,
    find_finished,
    find_longitudinal,
    receipt_path,
    remove_half_written,
    write_receipt,
)
from bids_alps.settings import Settings, as_toml

LOG = logging.getLogger(__name__)
_PAUSE_SECONDS = 10.0
DONE_BEFORE = "[done before]"
_OUTCOME = {"outcome": True}
"""Marks log records that tell what outcomes tell, so that a console shows them once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a run.

    Parameters
    ----------
    name
        Name of the run.
    message
        The index, or why there is none.
    exit_code
        0 where there is a result.
    selected
        False where there was nothing to do.
    """

    name: str
    message: str
    exit_code: int = 0
    selected: bool = True

    @property
    def up_to_date(self) -> bool:
        """Whether the result was there already."""
        return self.message.endswith(DONE_BEFORE)


def plan_work(participant: str, settings: Settings) -> list[DwiRun | Outcome]:
    """Return the runs of a participant to process, and the outcomes of those that cannot be or are none.

    Whatever lies in a participant's folder, the other participants go on.
    """
    from bids_alps import planning  # what it imports costs a second, which workers need not pay
    from bids_alps.io.layout import Problem

    try:
        check_links(settings.request.output_dir, participant)
    except AlpsError as error:  # a crash file would go where the link leads
        return [Outcome(name=f"sub-{participant}", message=str(error), exit_code=error.exit_code)]
    try:
        planned = planning.plan_participant(participant, settings)
    except Exception as error:  # noqa: BLE001 -- told as this participant's outcome
        return [_fail_logged(f"sub-{participant}", error, settings)]
    if planned and f"sub-{participant}" not in {run.name for run in planned}:
        resolve_crashes(settings, f"sub-{participant}")
    work: list[DwiRun | Outcome] = []
    for run in planned:
        if isinstance(run, Problem):
            work.append(_fail_logged(run.name, run.error, settings))
        elif isinstance(run, DwiRun):
            work.append(run)
        else:
            work.append(Outcome(name=run.name, message=run.reason, selected=False))
    return work


def _fail_logged(name: str, error: Exception, settings: Settings) -> Outcome:
    with suppress(AlpsError, OSError), _logged(participant_of(name), settings):
        return fail_run(name, error, settings)
    return fail_run(name, error, settings)  # not even a log can be written


def process_run(run: DwiRun, settings: Settings) -> Outcome:
    """Process one run: the unit of work, a function of its arguments and of files alone, for any process or machine.

    It does not raise: a run that fails is told in its outcome, and leaves a crash file.
    """
    return _run_logged(run.name, partial(_measure, run, settings), settings)


def find_longitudinal_runs(runs: Sequence[DwiRun]) -> list[tuple[DwiRun, ...]]:
    """Return the runs that repeat each other: alike in every entity but the session, of two sessions or more."""
    alike: dict[str, list[DwiRun]] = {}
    for run in runs:
        if run.session is not None:
            alike.setdefault(without_session(run).name, []).append(run)
    taken = {run.name for run in runs}
    return [tuple(group) for name, group in alike.items() if len(group) > 1 and name not in taken]


def without_session(run: DwiRun) -> DwiRun:
    """Return a run that stands for all sessions of it: its name has none."""
    return replace(run, entities={key: label for key, label in run.entities.items() if key != "ses"})


def process_longitudinal(runs: tuple[DwiRun, ...], settings: Settings) -> Outcome:
    """Compare the sessions of a participant once each has been processed; like `process_run`, it does not raise."""
    return _run_logged(f"{without_session(runs[0]).name}_longitudinal", partial(_compare, runs, settings), settings)


def participant_of(name: str) -> str:
    """Return the participant's label in the name of a run.

    Examples
    --------
    >>> participant_of("sub-01_ses-1")
    '01'
    """
    return name.split("_", 1)[0].removeprefix("sub-")


def write_page(participant: str, settings: Settings) -> Outcome:
    """Write the page of a participant from what its folder holds now; an error is told in the outcome."""
    from bids_alps.report.links import find_neighbours
    from bids_alps.report.participant import write_participant_page

    request = settings.request
    try:
        near = find_neighbours(request.bids_dir, participant, request.participant_label)
        write_participant_page(request.output_dir, participant, neighbours=near)
    except AlpsError as error:
        return Outcome(name=f"sub-{participant}_page", message=str(error), exit_code=error.exit_code)
    except Exception as error:  # noqa: BLE001 -- the results are there, and the other participants go on
        return fail_run(f"sub-{participant}_page", error, settings)
    return Outcome(name=f"sub-{participant}_page", message="written")


@contextmanager
def _logged(participant: str, settings: Settings) -> Iterator[None]:
    """Keep the effective settings and the log of a participant in a folder of this execution."""
    folder = log_folder(settings, participant)
    write_text(folder / "bids-alps.toml", as_toml(settings))
    handler = logging.StreamHandler(append_text(folder / "bids-alps.log"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    package = logging.getLogger("bids_alps")
    level = package.level
    package.addHandler(handler)
    package.setLevel(min(logging.INFO, logging.getLogger().getEffectiveLevel()))
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.stream.close()


def log_folder(settings: Settings, participant: str) -> Path:
    """Return where the logs of a participant in this execution go."""
    return settings.request.output_dir / "logs" / f"sub-{participant}" / (settings.execution.run_uuid or "run")


def _run_logged(name: str, work: Callable[[], str], settings: Settings) -> Outcome:
    """Do the work of a run with its participant's log; whatever it raises becomes the outcome."""
    try:
        with _logged(participant_of(name), settings):
            try:
                with threadpool_limits(limits=1, user_api="blas"):  # sums of BLAS depend on how work is split
                    message = _twice_if_storage_fails(name, work)
            except Exception as error:  # noqa: BLE001 -- whatever happens in one run, the others go on
                return fail_run(name, error, settings)
            LOG.info("%s: %s", name, message, extra=_OUTCOME)
            resolve_crashes(settings, name)
            _monitor(name, settings)
            return Outcome(name=name, message=message)
    except (AlpsError, OSError) as error:  # not even a log can be written
        return fail_run(name, error, settings)


def _twice_if_storage_fails(name: str, work: Callable[[], str]) -> str:
    """Do the work; once more where a disk or a network file system failed, which may pass."""
    try:
        return work()
    except Exception as error:
        if not is_passing(error):
            raise
        LOG.warning("%s: %s. Trying once more.", name, error)
    time.sleep(_PAUSE_SECONDS)
    return work()


def _monitor(name: str, settings: Settings) -> None:
    if settings.execution.resource_monitor:
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1000
        LOG.warning("%s: %.1f CPU seconds and %.0f MB at most in this process so far", name, seconds, peak)


def _measure(run: DwiRun, settings: Settings) -> str:
    """Take a run through the stages, unless its results are there already; return what was found."""
    output_dir = settings.request.output_dir
    making = describe_provenance(run, settings.method)
    remove_half_written(output_dir, run)
    finished = None if settings.request.force else find_finished(output_dir, run, making)
    if finished is not None:
        return f"{finished} {DONE_BEFORE}"
    if reason := explain_redo(output_dir, run, making):
        log_stage(run.name, "redone", reason)
    log_stage(run.name, "started")
    from bids_alps.stages import run_stages  # what it imports costs a second, which a plan does not need

    if not settings.request.force:
        check_run(output_dir, run, settings.method)
    clear_run(output_dir, run)
    result = run_stages(run, settings.method, output_dir)
    message = "; ".join(one.summary for one in result.measured)
    record_settings(output_dir, settings.method)  # another job that began at the same time may have removed the note
    write_receipt(output_dir, run, making, message, statements=result.statements)
    log_stage(run.name, "written")
    return message


def _compare(runs: tuple[DwiRun, ...], settings: Settings) -> str:
    """Measure the sessions that have results in one frame, unless that is done; return how the index changed."""
    output_dir, whole = settings.request.output_dir, without_session(runs[0])
    done = [run for run in runs if receipt_path(output_dir, run).exists()]
    if len(done) < 2:
        clear_run(output_dir, whole)
        return f"{len(done)} session with a result: nothing to compare, it stands by itself"
    making = describe_longitudinal_provenance(output_dir, done, settings.method)
    remove_half_written(output_dir, whole)
    finished = None if settings.request.force else find_finished(output_dir, whole, making)
    if finished is not None:
        return f"{finished} {DONE_BEFORE}"
    from bids_alps.stages.longitudinal import STATEMENTS, run_longitudinal

    if not settings.request.force:
        check_run(output_dir, whole, settings.method)
    clear_run(output_dir, whole)
    for path in find_longitudinal(output_dir, runs):
        path.unlink()
    rows = run_longitudinal(done, whole, settings.method, output_dir)
    first = rows[0]["first_session"], rows[0]["roi_preset"]
    message = "; ".join(
        f"ses-{row['first_session']} to ses-{row['second_session']} bilateral {row['change']:+.3f} "
        f"({row['change_ci_low']:+.3f} to {row['change_ci_high']:+.3f}{', another protocol' if row['differs'] else ''})"
        for row in rows
        if row["hemisphere"] == "bilateral" and (row["first_session"], row["roi_preset"]) == first
    )
    also = find_longitudinal(output_dir, done)
    record_settings(output_dir, settings.method)
    write_receipt(output_dir, whole, making, message, statements=STATEMENTS, also=also)
    return message


def fail_run(name: str, error: Exception, settings: Settings) -> Outcome:
    """Write a crash file and return the outcome; tell the error even where the file cannot be written."""
    if isinstance(error, PermissionError):
        error = explain_denied(error)
    if isinstance(error, AlpsError):
        code, message, details = error.exit_code, str(error), ""
    else:
        code, message = 1, f"{type(error).__name__}: {error}"
        details = "".join(traceback.format_exception(error))
    LOG.error("%s: %s", name, message, extra=_OUTCOME)
    try:
        write_text(crash_path(settings, name), f"{message}\n\n{details}")
    except AlpsError as second:
        LOG.error("%s", second)
    return Outcome(name=name, message=message, exit_code=code)


def crash_path(settings: Settings, name: str) -> Path:
    """Return where the crash file of a run goes."""
    return log_folder(settings, participant_of(name)) / f"crash-{name}.txt"


def resolve_crashes(settings: Settings, name: str) -> None:
    """Rename the crash files of earlier executions of a run that has a result now, so that no page tells them.

    The name says it, not the time of a file, which copies do not keep.
    """
    folder = settings.request.output_dir / "logs" / f"sub-{participant_of(name)}"
    for path in sorted(folder.glob(f"*/crash-{name}.txt")):
        with suppress(OSError):  # of another owner: the page tells an error too many, not one too few
            path.rename(path.with_name(f"resolved-{name}.txt"))
