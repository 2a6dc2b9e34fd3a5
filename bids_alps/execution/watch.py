"""Timing of tasks: finds tasks beyond their time limit, without workers, or much slower than the others."""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from dataclasses import dataclass

from bids_alps.errors import ExecutionError
from bids_alps.execution.engine import Task

LOG = logging.getLogger(__name__)
TICK_SECONDS = 5.0
"""How long an engine waits for a task before it checks the others."""

_TRIES = 3
"""A task fails when this many workers ended before it was finished, such as by a lifetime shorter than a run."""
_KNOWN = 5
"""Runs that must have finished before one is reported as slow."""
_SLOW = 4.0
"""A straggler takes this many times the median, ..."""
_SLOW_SECONDS = 300.0
"""... and at least this."""


@dataclass(slots=True, kw_only=True)
class _Started:
    task: Task
    place: str
    since: float
    times: int
    longest: float
    """Longest time that a worker spent on it before it ended, seconds."""
    limit: float = 0.0
    """Time after which it is reported as slow, seconds; doubled at each report."""


class Watch:
    """Measures the time of running tasks.

    Parameters
    ----------
    minutes
        Time limit of a task; None for no limit.
    """

    def __init__(self, minutes: float | None) -> None:
        self._minutes = minutes
        self._started: dict[int, _Started] = {}
        self._seconds: deque[float] = deque(maxlen=1000)

    def start(self, task_id: int, task: Task, place: str) -> None:
        """Record that a task is started (again) at a place, such as the address of a worker."""
        now, before = time.monotonic(), self._started.get(task_id)
        times, longest = (1, 0.0) if before is None else (before.times + 1, max(before.longest, now - before.since))
        self._started[task_id] = _Started(task=task, place=place, since=now, times=times, longest=longest)

    def stop(self, task_id: int) -> str:
        """Record that a task finished or was given up; return its place, empty if it was not started."""
        started = self._started.pop(task_id, None)
        if started is None:
            return ""
        if not started.task.page:  # reports are much faster than runs
            self._seconds.append(time.monotonic() - started.since)
        return started.place

    def find_hopeless(self) -> int | None:
        """Return a task beyond its time limit, or that several workers did not finish, if there is one."""
        for task_id, started in self._snapshot():
            if self._is_late(started) or started.times > _TRIES:
                return task_id
        return None

    def explain(self, task_id: int) -> ExecutionError:
        """Return the error of a task that is given up."""
        started = self._started[task_id]
        if self._is_late(started):
            what = f"stopped after {self._minutes:g} minutes"
            return ExecutionError("--timeout", what, "check its log, or increase the limit")
        what = f"{_TRIES} workers ended before the run was finished, after {started.longest / 60:.1f} minutes at most"
        return ExecutionError("worker", what, "increase the walltime of jobs and --lifetime, and run again")

    def _is_late(self, started: _Started) -> bool:
        return self._minutes is not None and time.monotonic() - started.since > 60 * self._minutes

    def _snapshot(self) -> list[tuple[int, _Started]]:
        """Return the running tasks; copied, since another thread may add to them."""
        return list(self._started.copy().items())

    def name_stragglers(self) -> None:
        """Log tasks that take much longer than the median of finished runs, again whenever their time has doubled."""
        if len(self._seconds) < _KNOWN:
            return
        median, now = statistics.median(self._seconds), time.monotonic()
        for _, started in self._snapshot():
            seconds = now - started.since
            if seconds > max(started.limit, _SLOW * median, _SLOW_SECONDS):
                started.limit = 2 * seconds
                text = f"{started.task.name}: running for {seconds / 60:.0f} minutes on {started.place}"
                LOG.warning("%s, where the median of %d runs is %.1f.", text, len(self._seconds), median / 60)
