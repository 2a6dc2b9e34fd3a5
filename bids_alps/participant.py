"""The story of one participant: find its runs, take each through the stages, tell what became of them."""

from __future__ import annotations

import logging
import resource
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bids_alps.errors import AlpsError, NoInputError
from bids_alps.io.layout import Problem, find_runs
from bids_alps.io.queries import Selection, read_filters
from bids_alps.io.writing import write_text
from bids_alps.model import DwiRun
from bids_alps.receipts import clear_run, describe_making, find_finished, write_receipt
from bids_alps.settings import Request, Settings, as_toml

LOG = logging.getLogger(__name__)


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


def plan_participant(participant: str, settings: Settings) -> list[DwiRun | Problem]:
    """Return the runs of a participant that the settings select, and those that cannot be used.

    Where a preprocessed dataset holds runs of the participant, they stand for the raw ones.
    """
    request = settings.request
    selection = Selection(
        sessions=tuple(label.removeprefix("ses-") for label in request.session_label),
        runs=request.run_label,
        filters={} if request.bids_filter_file is None else read_filters(request.bids_filter_file),
    )
    for dataset in datasets_of(request).values():
        runs = find_runs(dataset, participant, selection, preprocessed=True)
        if runs:
            return runs
    return find_runs(
        request.bids_dir,
        participant,
        selection,
        preprocessed=is_derivative(request.bids_dir),
        database=request.bids_database_dir,
    )


def datasets_of(request: Request) -> dict[str, Path]:
    """Return the preprocessed datasets by name, ``NAME=PATH`` or a path that is named by its folder.

    Raises
    ------
    NoInputError
        If one of them is no folder.
    """
    datasets = {}
    for text in request.derivatives:
        name, equals, path = text.partition("=")
        folder = Path(path if equals else text)
        if not folder.is_dir():
            raise NoInputError(f"--derivatives {text}", "no such folder", "give PATH or NAME=PATH")
        datasets[name if equals else folder.resolve().name] = folder
    return datasets


def is_derivative(bids_dir: Path) -> bool:
    """Whether a dataset says of itself that it is a derivative, such as the output of QSIPrep."""
    from bids_alps.io.inheritance import read_json

    return read_json(bids_dir / "dataset_description.json").get("DatasetType") == "derivative"


def process_participant(participant: str, settings: Settings) -> list[Outcome]:
    """Process every run of a participant; one that fails leaves the others alone."""
    with _logged(participant, settings):
        if settings.request.reports_only:
            return [_write_page_again(participant, settings)]
        outcomes = _process_runs(participant, settings)
        if not outcomes:
            return [Outcome(name=f"sub-{participant}", message="no diffusion run is selected", selected=False)]
        try:
            _write_page(participant, settings)
        except Exception as error:  # noqa: BLE001 -- the results are there, and the other participants go on
            outcomes.append(_failed(f"sub-{participant}_page", error, settings))
        return outcomes


def _write_page_again(participant: str, settings: Settings) -> Outcome:
    """Write a page from what is there; a participant without anything leaves the others alone."""
    try:
        _write_page(participant, settings)
    except AlpsError as error:
        return Outcome(
            name=f"sub-{participant}", message=f"no page: {error.what}. {error.remedy}", exit_code=error.exit_code
        )
    return Outcome(name=f"sub-{participant}", message="page written")


def _process_runs(participant: str, settings: Settings) -> list[Outcome]:
    outcomes: list[Outcome] = []
    try:
        runs = plan_participant(participant, settings)
    except Exception as error:  # noqa: BLE001 -- whatever lies in one participant's folder, the others go on
        return [_failed(f"sub-{participant}", error, settings)]
    for run in runs:
        outcomes.append(_failed(run.name, run.error, settings) if isinstance(run, Problem) else _process(run, settings))
        if outcomes[-1].exit_code and settings.request.stop_on_first_crash:
            break
    return outcomes


@contextmanager
def _logged(participant: str, settings: Settings) -> Iterator[None]:
    """Keep the effective settings and the log of a participant in a folder of this execution."""
    folder = log_folder(settings, participant)
    write_text(folder / "bids-alps.toml", as_toml(settings))
    handler = logging.FileHandler(folder / "bids-alps.log", encoding="utf-8")
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
        handler.close()


def log_folder(settings: Settings, participant: str) -> Path:
    """Return where the logs of a participant in this execution go."""
    return settings.request.output_dir / "logs" / f"sub-{participant}" / (settings.execution.run_uuid or "run")


def _process(run: DwiRun, settings: Settings) -> Outcome:
    LOG.info("%s: start", run.name)
    try:
        message = _measure(run, settings)
    except Exception as error:  # noqa: BLE001 -- whatever happens in one run, the others go on
        return _failed(run.name, error, settings)
    LOG.info("%s: %s", run.name, message)
    if settings.execution.resource_monitor:
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1000
        LOG.warning("%s: %.1f CPU seconds and %.0f MB at most in this process so far", run.name, seconds, peak)
    return Outcome(name=run.name, message=message)


def _measure(run: DwiRun, settings: Settings) -> str:
    """Take a run through the stages, unless its results are there already; return what was found."""
    output_dir = settings.request.output_dir
    making = describe_making(run, settings.method)
    finished = None if settings.request.force else find_finished(output_dir, run, making)
    if finished is not None:
        return f"{finished} [done before]"
    from bids_alps.stages import run_stages  # what it imports costs a second, which a plan does not need

    clear_run(output_dir, run)
    message = "; ".join(
        f"{one.preset.name} left {one.result.alps['left']:.3f} right {one.result.alps['right']:.3f} "
        f"bilateral {one.result.alps['bilateral']:.3f} ({one.status})"
        for one in run_stages(run, settings.method, output_dir)
    )
    write_receipt(output_dir, run, making, message)
    return message


def _failed(name: str, error: Exception, settings: Settings) -> Outcome:
    """Write a crash file and return the outcome; tell the error even where the file cannot be written."""
    known = isinstance(error, AlpsError)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    details = "" if known else "".join(traceback.format_exception(error))
    LOG.error("%s: %s", name, message)
    try:
        write_text(crash_path(settings, name), f"{message}\n\n{details}")
    except AlpsError as second:
        LOG.error("%s", second)
    return Outcome(name=name, message=message, exit_code=error.exit_code if isinstance(error, AlpsError) else 1)


def crash_path(settings: Settings, name: str) -> Path:
    """Return where the crash file of a run goes."""
    participant = name.split("_", 1)[0].removeprefix("sub-")
    return log_folder(settings, participant) / f"crash-{name}.txt"


def _write_page(participant: str, settings: Settings) -> None:
    """Write the page of a participant from what its folder holds now."""
    from bids_alps.report.participant import write_participant_page

    write_participant_page(settings.request.output_dir, participant, settings=asdict(settings.method))
