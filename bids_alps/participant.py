"""The story of one participant: find its runs, take each through the stages, tell what became of them."""

from __future__ import annotations

import logging
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from bids_alps.errors import AlpsError
from bids_alps.io.layout import Problem, find_runs
from bids_alps.io.queries import Selection
from bids_alps.io.writing import write_text
from bids_alps.model import DwiRun
from bids_alps.receipts import clear_run, describe_making, find_finished, write_receipt
from bids_alps.settings import Settings

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
    """

    name: str
    message: str
    exit_code: int = 0


def plan_participant(participant: str, settings: Settings) -> list[DwiRun | Problem]:
    """Return the runs of a participant that the settings select, and those that cannot be used."""
    request = settings.request
    selection = Selection(
        sessions=tuple(label.removeprefix("ses-") for label in request.session_label), runs=request.run_label
    )
    return find_runs(request.bids_dir, participant, selection, preprocessed=is_derivative(request.bids_dir))


def is_derivative(bids_dir: Path) -> bool:
    """Whether a dataset says of itself that it is a derivative, such as the output of QSIPrep."""
    from bids_alps.io.inheritance import read_json

    return read_json(bids_dir / "dataset_description.json").get("DatasetType") == "derivative"


def process_participant(participant: str, settings: Settings) -> list[Outcome]:
    """Process every run of a participant; one that fails leaves the others alone."""
    outcomes = []
    for run in plan_participant(participant, settings):
        outcomes.append(_failed(run.name, run.error, settings) if isinstance(run, Problem) else _process(run, settings))
        if outcomes[-1].exit_code and settings.request.stop_on_first_crash:
            break
    if not outcomes:
        return [Outcome(name=f"sub-{participant}", message="no diffusion run is selected")]
    _write_page(participant, settings)
    return outcomes


def _process(run: DwiRun, settings: Settings) -> Outcome:
    LOG.info("%s: start", run.name)
    try:
        message = _measure(run, settings)
    except Exception as error:  # noqa: BLE001 -- whatever happens in one run, the others go on
        return _failed(run.name, error, settings)
    crash_path(settings, run.name).unlink(missing_ok=True)  # of an earlier attempt
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
    try:
        write_text(crash_path(settings, name), f"{message}\n\n{details}")
    except AlpsError as second:
        LOG.error("%s", second)
    return Outcome(name=name, message=message, exit_code=error.exit_code if isinstance(error, AlpsError) else 1)


def crash_path(settings: Settings, name: str) -> Path:
    """Return where the crash file of a run goes."""
    participant = name.split("_", 1)[0]
    return settings.request.output_dir / "logs" / participant / f"crash-{name}.txt"


def _write_page(participant: str, settings: Settings) -> None:
    """Write the page of a participant from what its folder holds now."""
    from bids_alps.report.participant import write_participant_page

    write_participant_page(settings.request.output_dir, participant, settings=asdict(settings.method))
