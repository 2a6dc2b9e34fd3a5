"""The story of a study: every participant's runs, then its page, on whatever engine there is."""

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
    """Is told how the work goes on, run by run."""

    def found(self, participant: str, runs: Sequence[str]) -> None:
        """Take note of the runs of a participant, usable or not."""

    def ended(self, outcome: Outcome) -> None:
        """Take note of what became of a run."""


def make_engine(settings: Settings) -> Engine:
    """Return the engine that the settings ask for, not yet started."""
    if settings.execution.executor == "dask":
        from bids_alps.execution.dask import Cluster

        return Cluster(settings)
    if settings.execution.nprocs == 1 and settings.execution.timeout is None:  # no process ends itself
        return InProcess()
    from bids_alps.execution.local import Processes

    return Processes(settings)


def process_participants(
    labels: Sequence[str], settings: Settings, watcher: Watcher | None = None
) -> Generator[tuple[str, list[Outcome]], None, None]:
    """Process every run of the participants; yield each participant with its outcomes as it ends.

    Participants are planned when there is room for their runs, so that work begins at once however many there are.
    """
    ledger = _Ledger(labels, settings, watcher)
    with make_engine(settings) as engine:
        under_way: dict[int, Task] = {}
        task_id = 0
        while True:
            yield from ledger.ended()
            while (task := ledger.next_task()) and engine.has_room(task):
                engine.submit(task_id, task)
                under_way[task_id] = ledger.take()
                task_id += 1
            yield from ledger.ended()
            if not under_way:
                return
            number, outcome = engine.wait()
            ledger.note(under_way.pop(number), outcome)


class _Ledger:
    """Which participants are under way, from their first run to their page."""

    def __init__(self, labels: Sequence[str], settings: Settings, watcher: Watcher | None = None) -> None:
        self._labels, self._settings, self._watcher = iter(labels), settings, watcher
        self._waiting: deque[Task] = deque()
        self._outcomes: dict[str, list[Outcome]] = {}
        self._runs_left: dict[str, int] = {}
        self._repeats: dict[str, list[tuple[DwiRun, ...]]] = {}
        self._begun: set[str] = set()
        self._ended: list[str] = []
        self._stopped = False

    def next_task(self) -> Task | None:
        """Return the task to be worked on next; participants are planned for it when none is waiting."""
        while not self._waiting and not self._stopped and (label := next(self._labels, None)) is not None:
            self._begin(label)
        return self._waiting[0] if self._waiting else None

    def take(self) -> Task:
        """Take the next task off the list."""
        task = self._waiting.popleft()
        self._begun.add(task.participant)
        return task

    def ended(self) -> Iterator[tuple[str, list[Outcome]]]:
        """Yield the participants that ended since the last call, with their outcomes."""
        while self._ended:
            label = self._ended.pop(0)
            yield label, self._outcomes.pop(label)

    def note(self, task: Task, outcome: Outcome | AlpsError) -> None:
        """Enter what became of a task; the page of a participant is due when its last run ended."""
        told = fail_run(task.name, outcome, self._settings) if isinstance(outcome, AlpsError) else outcome
        if not task.page or told.exit_code or self._settings.request.reports_only:
            self._tell(task.participant, told)
        if task.page:
            self._ended.append(task.participant)
            return
        self._stop_after(told)
        self._runs_left[task.participant] -= 1
        if not self._runs_left[task.participant]:
            self._runs_ended(task.participant)

    def _tell(self, label: str, outcome: Outcome) -> None:
        """Enter an outcome, and tell whoever watches."""
        self._outcomes[label].append(outcome)
        if self._watcher is not None:
            self._watcher.ended(outcome)

    def _begin(self, label: str) -> None:
        reports_only = self._settings.request.reports_only
        planned = [] if reports_only else plan_work(label, self._settings)
        self._outcomes[label] = []
        if self._watcher is not None:
            self._watcher.found(label, [f"sub-{label}_page"] if reports_only else [one.name for one in planned])
        for outcome in planned:
            if isinstance(outcome, Outcome):
                self._tell(label, outcome)
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
            self._tell(label, nothing)
            self._ended.append(label)
        elif not runs:
            self._runs_ended(label)

    def _runs_ended(self, label: str) -> None:
        """Put what comes after the runs of a participant in front: comparison of its sessions, then its page."""
        repeats = [] if self._stopped else self._repeats.pop(label, [])
        self._runs_left[label] = len(repeats)
        for runs in repeats:
            name = f"{without_session(runs[0]).name}_longitudinal"
            work = partial(process_longitudinal, runs, self._settings)
            most = max(estimate_megabytes(run) for run in runs) + len(runs) * MAPS_MEGABYTES
            self._waiting.appendleft(Task(participant=label, name=name, work=work, megabytes=most))
        if not repeats:
            self._page_due(label)

    def _page_due(self, label: str) -> None:
        work = partial(write_page, label, self._settings)
        page = Task(participant=label, name=f"sub-{label}_page", work=work, megabytes=PAGE_MEGABYTES, page=True)
        self._waiting.appendleft(page)

    def _stop_after(self, outcome: Outcome) -> None:
        """Begin no run more after a failure, where that was asked for; whoever has a run that ended gets a page."""
        if outcome.exit_code and self._settings.request.stop_on_first_crash:
            self._stopped = True
            dropped = [task.participant for task in self._waiting if not task.page]
            self._waiting = deque(task for task in self._waiting if task.page)
            for label in dropped:
                self._runs_left[label] -= 1
                if label in self._begun and not self._runs_left[label]:
                    self._page_due(label)
