"""Processing of one participant: find its runs, process each, and return their outcomes."""

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

from bids_alps.cleanup import clear_longitudinal, clear_run, clear_superseded, remove_half_written
from bids_alps.consistency import check_run, record_settings
from bids_alps.errors import AlpsError, permission_error
from bids_alps.io.output import check_links
from bids_alps.io.writing import append_text, is_transient, write_text
from bids_alps.model import DwiRun
from bids_alps.progress import log_stage
from bids_alps.provenance import (
    describe_longitudinal_provenance,
    describe_provenance,
    explain_reprocessing,
    find_finished,
    find_longitudinal,
    receipt_path,
    write_receipt,
)
from bids_alps.settings import Settings, as_toml

LOG = logging.getLogger(__name__)
_PAUSE_SECONDS = 10.0
DONE_BEFORE = "[up to date]"
_OUTCOME = {"outcome": True}
"""Marks log records that repeat an outcome, so that a console shows it once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Outcome of a run.

    Parameters
    ----------
    name
        Name of the run.
    message
        The index, or why there is none.
    exit_code
        0 if there is a result.
    selected
        False if there was nothing to process.
    """

    name: str
    message: str
    exit_code: int = 0
    selected: bool = True

    @property
    def up_to_date(self) -> bool:
        """Whether the result already existed."""
        return self.message.endswith(DONE_BEFORE)


def plan_work(participant: str, settings: Settings) -> list[DwiRun | Outcome]:
    """Return the runs of a participant to process, and the outcomes of those that cannot be processed.

    It does not raise, so that an invalid folder of one participant does not stop the others.
    """
    from bids_alps import planning  # imported here, since it takes a second that workers need not spend
    from bids_alps.io.layout import UnusableRun

    try:
        check_links(settings.request.output_dir, participant)
    except AlpsError as error:  # a crash file would be written to the target of the link
        return [Outcome(name=f"sub-{participant}", message=str(error), exit_code=error.exit_code)]
    try:
        planned = planning.plan_participant(participant, settings)
    except Exception as error:  # noqa: BLE001 -- reported as this participant's outcome
        return [_fail_logged(f"sub-{participant}", error, settings)]
    if planned and f"sub-{participant}" not in {run.name for run in planned}:
        resolve_crashes(settings, f"sub-{participant}")
    work: list[DwiRun | Outcome] = []
    for run in planned:
        if isinstance(run, UnusableRun):
            work.append(_fail_logged(run.name, run.error, settings))
        elif isinstance(run, DwiRun):
            work.append(run)
        else:
            work.append(Outcome(name=run.name, message=run.reason, selected=False))
    runs = [run for run in work if isinstance(run, DwiRun)]
    clear_superseded(settings.request.output_dir, runs, force=settings.request.force)
    return work


def _fail_logged(name: str, error: Exception, settings: Settings) -> Outcome:
    with suppress(AlpsError, OSError), _logged(participant_of(name), settings):
        return fail_run(name, error, settings)
    return fail_run(name, error, settings)  # not even the log can be written


def process_run(run: DwiRun, settings: Settings) -> Outcome:
    """Process one run: the unit of work, which depends on its arguments and files only, on any process or machine.

    It does not raise: a failure is reported in the outcome and in a crash file.
    """
    return _run_logged(run.name, partial(_measure, run, settings), settings)


def find_longitudinal_runs(runs: Sequence[DwiRun]) -> list[tuple[DwiRun, ...]]:
    """Return the groups of runs that differ only in the session, each of two sessions or more."""
    by_name: dict[str, list[DwiRun]] = {}
    for run in runs:
        if run.session is not None:
            by_name.setdefault(without_session(run).name, []).append(run)
    existing = {run.name for run in runs}
    return [tuple(group) for name, group in by_name.items() if len(group) > 1 and name not in existing]


def without_session(run: DwiRun) -> DwiRun:
    """Return a run that represents all its sessions: its name has no session."""
    return replace(run, entities={key: label for key, label in run.entities.items() if key != "ses"})


def process_longitudinal(runs: tuple[DwiRun, ...], settings: Settings) -> Outcome:
    """Compare the sessions of a participant, each of which has been processed; it does not raise either."""
    return _run_logged(f"{without_session(runs[0]).name}_longitudinal", partial(_compare, runs, settings), settings)


def participant_of(name: str) -> str:
    """Return the label of the participant from the name of a run.

    Examples
    --------
    >>> participant_of("sub-01_ses-1")
    '01'
    """
    return name.split("_", 1)[0].removeprefix("sub-")


def write_page(participant: str, settings: Settings) -> Outcome:
    """Write the report of a participant from the files in its folder; an error is reported in the outcome."""
    from bids_alps.report.links import find_neighbors
    from bids_alps.report.participant import write_participant_page

    request = settings.request
    try:
        near = find_neighbors(request.bids_dir, participant, request.participant_label)
        write_participant_page(request.output_dir, participant, neighbors=near)
    except AlpsError as error:
        return Outcome(name=f"sub-{participant}_page", message=str(error), exit_code=error.exit_code)
    except Exception as error:  # noqa: BLE001 -- the results exist, and the other participants are processed
        return fail_run(f"sub-{participant}_page", error, settings)
    return Outcome(name=f"sub-{participant}_page", message="written")


@contextmanager
def _logged(participant: str, settings: Settings) -> Iterator[None]:
    """Write the effective settings and the log of a participant to a folder of this execution."""
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
    """Return the folder for the logs of a participant in this execution."""
    return settings.request.output_dir / "logs" / f"sub-{participant}" / (settings.execution.run_uuid or "run")


def _run_logged(name: str, work: Callable[[], str], settings: Settings) -> Outcome:
    """Do the work of a run and write its log; any error becomes the outcome."""
    try:
        with _logged(participant_of(name), settings):
            try:
                # the rounding of BLAS sums depends on the number of threads
                with threadpool_limits(limits=1, user_api="blas"):
                    message = _retry_storage_errors(name, work)
            except Exception as error:  # noqa: BLE001 -- an error of one run must not stop the others
                return fail_run(name, error, settings)
            LOG.info("%s: %s", name, message, extra=_OUTCOME)
            resolve_crashes(settings, name)
            if settings.execution.resource_monitor:
                used = resource.getrusage(resource.RUSAGE_SELF)
                seconds, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1000
                LOG.warning("%s: %.1f s of CPU time, peak memory %.0f MB, in this process so far", name, seconds, peak)
            return Outcome(name=name, message=message)
    except (AlpsError, OSError) as error:  # not even the log can be written
        return fail_run(name, error, settings)


def _retry_storage_errors(name: str, work: Callable[[], str]) -> str:
    """Do the work, and retry once after an error of a disk or network file system, which may be transient."""
    try:
        return work()
    except Exception as error:
        if not is_transient(error):
            raise
        LOG.warning("%s: %s. Retrying once.", name, error)
    time.sleep(_PAUSE_SECONDS)
    return work()


def _measure(run: DwiRun, settings: Settings) -> str:
    """Process a run, unless its results are up to date; return its message."""
    output_dir = settings.request.output_dir
    provenance = describe_provenance(run, settings.method)
    remove_half_written(output_dir, run)
    finished = None if settings.request.force else find_finished(output_dir, run, provenance)
    if finished is not None:
        return f"{finished} {DONE_BEFORE}"
    if reason := explain_reprocessing(output_dir, run, provenance):
        log_stage(run.name, "reprocessing", reason)
    log_stage(run.name, "started")
    from bids_alps.stages import run_stages  # imported here, since it takes a second that --dry-run need not spend

    if not settings.request.force:
        check_run(output_dir, run, settings.method)
    clear_longitudinal(output_dir, run)
    clear_run(output_dir, run)
    result = run_stages(run, settings.method, output_dir)
    message = "; ".join(measurement.summary for measurement in result.measured)
    record_settings(output_dir, settings.method)  # a job that started at the same time may have removed the record
    write_receipt(output_dir, run, provenance, message, statements=result.statements)
    log_stage(run.name, "written")
    return message


def _compare(runs: tuple[DwiRun, ...], settings: Settings) -> str:
    """Measure the sessions with results in midpoint space, unless up to date; return the change of the index."""
    output_dir, whole = settings.request.output_dir, without_session(runs[0])
    processed = [run for run in runs if receipt_path(output_dir, run).exists()]
    if len(processed) < 2:
        clear_run(output_dir, whole)
        return f"{len(processed)} session with a result: no longitudinal comparison"
    provenance = describe_longitudinal_provenance(output_dir, processed, settings.method)
    remove_half_written(output_dir, whole)
    finished = None if settings.request.force else find_finished(output_dir, whole, provenance)
    if finished is not None:
        return f"{finished} {DONE_BEFORE}"
    from bids_alps.stages.longitudinal import STATEMENTS, run_longitudinal

    if not settings.request.force:
        check_run(output_dir, whole, settings.method)
    clear_run(output_dir, whole)
    for path in find_longitudinal(output_dir, runs):
        path.unlink()
    rows = run_longitudinal(processed, whole, settings.method, output_dir)
    first = rows[0]["first_session"], rows[0]["roi_preset"]
    message = "; ".join(
        f"ses-{row['first_session']} to ses-{row['second_session']} bilateral {row['change']:+.3f} "
        f"({row['change_ci_low']:+.3f} to {row['change_ci_high']:+.3f}{', other protocol' if row['differs'] else ''})"
        for row in rows
        if row["hemisphere"] == "bilateral" and (row["first_session"], row["roi_preset"]) == first
    )
    more = find_longitudinal(output_dir, processed)
    record_settings(output_dir, settings.method)
    write_receipt(output_dir, whole, provenance, message, statements=STATEMENTS, also=more)
    return message


def fail_run(name: str, error: Exception, settings: Settings) -> Outcome:
    """Write a crash file and return the outcome; log the error even if the file cannot be written."""
    if isinstance(error, PermissionError):
        error = permission_error(error)
    if isinstance(error, AlpsError):
        code, message, details = error.exit_code, str(error), ""
    else:
        code, message = 1, f"{type(error).__name__}: {error}"
        details = "".join(traceback.format_exception(error))
    LOG.error("%s: %s", name, message, extra=_OUTCOME)
    try:
        write_text(crash_path(settings, name), f"{message}\n\n{details}")
    except AlpsError as write_error:
        LOG.error("%s", write_error)
    return Outcome(name=name, message=message, exit_code=code)


def crash_path(settings: Settings, name: str) -> Path:
    """Return the path of the crash file of a run."""
    return log_folder(settings, participant_of(name)) / f"crash-{name}.txt"


def resolve_crashes(settings: Settings, name: str) -> None:
    """Rename the crash files of earlier executions of a run that now has a result, so that no report shows them.

    The name marks them, since the modification time of a file is lost when it is copied.
    """
    folder = settings.request.output_dir / "logs" / f"sub-{participant_of(name)}"
    for path in sorted(folder.glob(f"*/crash-{name}.txt")):
        with suppress(OSError):  # the file belongs to another user: the report then shows a resolved error
            path.rename(path.with_name(f"resolved-{name}.txt"))
