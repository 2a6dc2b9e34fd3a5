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
from bids_alps.errors import AlpsError, UsageError, explain_denied
from bids_alps.io.atlases import atlas_label
from bids_alps.io.layout import Problem, find_runs
from bids_alps.io.lesions import LESIONS, find_lesions
from bids_alps.io.manual_rois import ROIS, find_manual_rois, find_unused_manual_rois
from bids_alps.io.output import check_links
from bids_alps.io.pairs import pair_opposite
from bids_alps.io.queries import Selection, read_filters
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
from bids_alps.settings import Method, Settings, as_toml

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


def plan_participant(participant: str, settings: Settings) -> list[DwiRun | Problem]:
    """Return the runs of a participant that the settings select, and those that cannot be used.

    Where a preprocessed dataset holds runs of the participant, they stand for the raw ones. Runs know their lesion
    masks and the regions that were drawn in them, where datasets of these were given.
    """
    lesions, rois = lesions_of(settings), settings.request.datasets.get(ROIS)
    runs = _select_runs(participant, settings)
    if lesions is not None:
        find = partial(find_lesions, lesions, t1w_aligned=settings.method.t1w_aligned)
        runs = [_told(run, lambda one: replace(one, lesions=find(one))) for run in runs]
    return runs if rois is None else _with_manual_rois(runs, participant, rois, settings.method)


def _select_runs(participant: str, settings: Settings) -> list[DwiRun | Problem]:
    request = settings.request
    selection = Selection(
        sessions=tuple(label.removeprefix("ses-") for label in request.session_label),
        runs=request.run_label,
        filters={} if request.bids_filter_file is None else read_filters(request.bids_filter_file),
    )
    for name, dataset in request.datasets.items():
        runs = [] if name in (LESIONS, ROIS) else find_runs(dataset, participant, selection, preprocessed=True)
        if runs:
            return runs
    runs = find_runs(
        request.bids_dir,
        participant,
        selection,
        preprocessed=is_derivative(request.bids_dir),
        database=request.bids_database_dir,
    )
    merges = settings.method.combine_runs and not settings.method.skip_preprocessing
    return pair_opposite(runs) if merges else runs


def lesions_of(settings: Settings) -> Path | None:
    """Return the dataset of lesion masks, if one was given.

    Raises
    ------
    UsageError
        If lesions are to be excluded and there is none.
    """
    dataset = settings.request.datasets.get(LESIONS)
    if dataset is None and settings.method.exclude_lesions:
        raise UsageError("--exclude-lesions", "no dataset of lesion masks", f"give one: -d {LESIONS}=PATH")
    return dataset


def _told(run: DwiRun | Problem, tell: Callable[[DwiRun], DwiRun]) -> DwiRun | Problem:
    """Return a run that was told more of its files, or why it could not be."""
    if isinstance(run, Problem):
        return run
    try:
        return tell(run)
    except AlpsError as error:
        return Problem(name=run.name, error=error)


def _with_manual_rois(
    runs: list[DwiRun | Problem], participant: str, dataset: Path, method: Method
) -> list[DwiRun | Problem]:
    """Return runs that know the regions drawn in them; tell of those that serve none."""
    labels = [atlas_label(name) for name in method.rois]
    found = [_told(run, lambda one: replace(one, regions=find_manual_rois(dataset, one, labels))) for run in runs]
    used = [image for run in found if isinstance(run, DwiRun) for image, _ in run.regions.values()]
    for path in find_unused_manual_rois(dataset, participant, used):
        LOG.warning("%s: it is called after no run and preset that is measured. Compare the names.", path)
    return found


def is_derivative(bids_dir: Path) -> bool:
    """Whether a dataset says of itself that it is a derivative, such as the output of QSIPrep."""
    from bids_alps.io.inheritance import read_json

    return read_json(bids_dir / "dataset_description.json").get("DatasetType") == "derivative"


def plan_work(participant: str, settings: Settings) -> list[DwiRun | Outcome]:
    """Return the runs of a participant to process, and the outcomes of those that cannot be.

    Whatever lies in a participant's folder, the other participants go on.
    """
    try:
        check_links(settings.request.output_dir, participant)
    except AlpsError as error:  # a crash file would go where the link leads
        return [Outcome(name=f"sub-{participant}", message=str(error), exit_code=error.exit_code)]
    try:
        planned = plan_participant(participant, settings)
    except Exception as error:  # noqa: BLE001 -- told as this participant's outcome
        return [_fail_logged(f"sub-{participant}", error, settings)]
    if planned and f"sub-{participant}" not in {run.name for run in planned}:
        resolve_crashes(settings, f"sub-{participant}")
    return [_fail_logged(run.name, run.error, settings) if isinstance(run, Problem) else run for run in planned]


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
