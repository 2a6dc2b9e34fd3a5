"""Processing of all participants: the runs of each, then its report, on any engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Protocol

from bids_alps.errors import AlpsError
from bids_alps.execution.engine import Engine, InProcess, Task
from bids_alps.execution.memory import MAPS_MEGABYTES, PAGE_MEGABYTES, estimate_megabytes
from bids_alps.model import DwiRun
from bids_alps.participant import (
    Outcome,
    fail_run,
    find_longitudinal_runs,
    plan_work,
    process_longitudinal,
    process_run,
    without_session,
    write_page,
)
from bids_alps.settings import Settings


class Watcher(Protocol):
    """Receives progress, run by run."""

    def add_runs(self, participant: str, runs: Sequence[str]) -> None:
        """Add the runs of a participant, usable or not."""

    def show_outcome(self, outcome: Outcome) -> None:
        """Show the outcome of a run."""


def make_engine(settings: Settings) -> Engine:
    """Return the engine that the settings ask for, not yet started."""
    if settings.execution.executor == "dask":
        from bids_alps.execution.dask import Cluster

        return Cluster(settings)
    if settings.execution.nprocs == 1 and settings.execution.timeout is None:  # a timeout needs a process to stop
        return InProcess()
    from bids_alps.execution.local import Processes

    return Processes(settings)


def process_participants(
    labels: Sequence[str], settings: Settings, watcher: Watcher | None = None
) -> Generator[tuple[str, list[Outcome]], None, None]:
    """Process every run of the participants; yield each participant with its outcomes when it is finished.

    Participants are planned when there is room for their runs, so that processing starts without delay.
    """
    ledger = _Ledger(labels, settings, watcher)
    with make_engine(settings) as engine:
        running: dict[int, Task] = {}
        task_id = 0
        while True:
            yield from ledger.pop_finished()
            while (task := ledger.next_task()) and engine.has_room(task):
                engine.submit(task_id, task)
                running[task_id] = ledger.take()
                task_id += 1
            yield from ledger.pop_finished()
            if not running:
                return
            finished_id, outcome = engine.wait()
            ledger.record(running.pop(finished_id), outcome)


class _Ledger:
    """Keeps track of participants from their first run to their report."""

    def __init__(self, labels: Sequence[str], settings: Settings, watcher: Watcher | None = None) -> None:
        self._labels, self._settings, self._watcher = iter(labels), settings, watcher
        self._waiting: deque[Task] = deque()
        self._outcomes: dict[str, list[Outcome]] = {}
        self._runs_left: dict[str, int] = {}
        self._repeats: dict[str, list[tuple[DwiRun, ...]]] = {}
        self._started: set[str] = set()
        self._finished: list[str] = []
        self._stopped = False

    def next_task(self) -> Task | None:
        """Return the next task; further participants are planned when none is waiting."""
        while not self._waiting and not self._stopped and (label := next(self._labels, None)) is not None:
            self._plan(label)
        return self._waiting[0] if self._waiting else None

    def take(self) -> Task:
        """Remove the next task from the queue and return it."""
        task = self._waiting.popleft()
        self._started.add(task.participant)
        return task

    def pop_finished(self) -> Iterator[tuple[str, list[Outcome]]]:
        """Yield the participants that finished since the last call, with their outcomes."""
        while self._finished:
            label = self._finished.pop(0)
            yield label, self._outcomes.pop(label)

    def record(self, task: Task, outcome: Outcome | AlpsError) -> None:
        """Record the result of a task; after the last run of a participant, its report is queued."""
        recorded = fail_run(task.name, outcome, self._settings) if isinstance(outcome, AlpsError) else outcome
        if not task.page or recorded.exit_code or self._settings.request.reports_only:
            self._add_outcome(task.participant, recorded)
        if task.page:
            self._finished.append(task.participant)
            return
        self._stop_after(recorded)
        self._runs_left[task.participant] -= 1
        if not self._runs_left[task.participant]:
            self._finish_runs(task.participant)

    def _add_outcome(self, label: str, outcome: Outcome) -> None:
        """Record an outcome and pass it to the watcher."""
        self._outcomes[label].append(outcome)
        if self._watcher is not None:
            self._watcher.show_outcome(outcome)

    def _plan(self, label: str) -> None:
        reports_only = self._settings.request.reports_only
        planned = [] if reports_only else plan_work(label, self._settings)
        self._outcomes[label] = []
        if self._watcher is not None:
            self._watcher.add_runs(label, [f"sub-{label}_page"] if reports_only else [run.name for run in planned])
        for outcome in planned:
            if isinstance(outcome, Outcome):
                self._add_outcome(label, outcome)
                self._stop_after(outcome)
        runs = [] if self._stopped else [run for run in planned if not isinstance(run, Outcome)]
        for run in runs:
            work = partial(process_run, run, self._settings)
            self._waiting.append(Task(participant=label, name=run.name, work=work, megabytes=estimate_megabytes(run)))
        self._runs_left[label] = len(runs)
        if self._settings.request.longitudinal:
            self._repeats[label] = find_longitudinal_runs(runs)
        if not planned and not reports_only:
            nothing = Outcome(name=f"sub-{label}", message="no diffusion run is selected", selected=False)
            self._add_outcome(label, nothing)
            self._finished.append(label)
        elif not runs:
            self._finish_runs(label)

    def _finish_runs(self, label: str) -> None:
        """Queue the next tasks of a participant first: comparison of its sessions, then its report."""
        repeats = [] if self._stopped else self._repeats.pop(label, [])
        self._runs_left[label] = len(repeats)
        for runs in repeats:
            name = f"{without_session(runs[0]).name}_longitudinal"
            work = partial(process_longitudinal, runs, self._settings)
            most = max(estimate_megabytes(run) for run in runs) + len(runs) * MAPS_MEGABYTES
            self._waiting.appendleft(Task(participant=label, name=name, work=work, megabytes=most))
        if not repeats:
            self._queue_page(label)

    def _queue_page(self, label: str) -> None:
        work = partial(write_page, label, self._settings)
        page = Task(participant=label, name=f"sub-{label}_page", work=work, megabytes=PAGE_MEGABYTES, page=True)
        self._waiting.appendleft(page)

    def _stop_after(self, outcome: Outcome) -> None:
        """Start no more runs after a failure, if requested; participants with a finished run get a report."""
        if outcome.exit_code and self._settings.request.stop_on_first_crash:
            self._stopped = True
            dropped = [task.participant for task in self._waiting if not task.page]
            self._waiting = deque(task for task in self._waiting if task.page)
            for label in dropped:
                self._runs_left[label] -= 1
                if label in self._started and not self._runs_left[label]:
                    self._queue_page(label)
