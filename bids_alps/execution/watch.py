"""How long tasks take: which run out of time or of workers, and which take far longer than the others."""

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
"""How long an engine waits for a task before it looks after the others."""

_TRIES = 3
"""A task is given up when this many workers ended before it was done, such as by a lifetime shorter than a run."""
_KNOWN = 5
"""Runs that must have ended before one is called slow."""
_SLOW = 4.0
"""A straggler takes this many times the median, ..."""
_SLOW_SECONDS = 300.0
"""... and no less than this."""


@dataclass(slots=True, kw_only=True)
class _Started:
    task: Task
    place: str
    since: float
    times: int
    longest: float
    """Seconds for which a worker that ended had worked on it, at most."""
    limit: float = 0.0
    """Seconds after which it is named, doubled each time that it is."""


class Watch:
    """Keeps the time of tasks that are worked on.

    Parameters
    ----------
    minutes
        What a task may take; None where it may take any time.
    """

    def __init__(self, minutes: float | None) -> None:
        self._minutes = minutes
        self._started: dict[int, _Started] = {}
        self._seconds: deque[float] = deque(maxlen=1000)

    def start(self, task_id: int, task: Task, place: str) -> None:
        """Note that a task is begun, or begun again, at a place such as the address of a worker."""
        now, before = time.monotonic(), self._started.get(task_id)
        times, longest = (1, 0.0) if before is None else (before.times + 1, max(before.longest, now - before.since))
        self._started[task_id] = _Started(task=task, place=place, since=now, times=times, longest=longest)

    def stop(self, task_id: int) -> str:
        """Note that a task ended or was given up; return where it was worked on, empty where it was not begun."""
        started = self._started.pop(task_id, None)
        if started is None:
            return ""
        if not started.task.page:  # a page takes a moment
            self._seconds.append(time.monotonic() - started.since)
        return started.place

    def find_hopeless(self) -> int | None:
        """Return a task that has taken more than its time, or that several workers left undone, if there is one."""
        for task_id, started in self._snapshot():
            if self._is_late(started) or started.times > _TRIES:
                return task_id
        return None

    def explain(self, task_id: int) -> ExecutionError:
        """Return the error of a task that is given up."""
        started = self._started[task_id]
        if self._is_late(started):
            what = f"not done after {self._minutes:g} minutes, and ended"
            return ExecutionError("--timeout", what, "look into its log, or give it longer")
        what = f"{_TRIES} workers ended before the run was done, after {started.longest / 60:.1f} minutes at most"
        return ExecutionError("worker", what, "give jobs a longer walltime and --lifetime, and start again")

    def _is_late(self, started: _Started) -> bool:
        return self._minutes is not None and time.monotonic() - started.since > 60 * self._minutes

    def _snapshot(self) -> list[tuple[int, _Started]]:
        """Return what is worked on; another thread may add to it meanwhile."""
        return list(self._started.copy().items())

    def name_stragglers(self) -> None:
        """Log what takes far longer than the median of the runs that ended, again whenever its time has doubled."""
        if len(self._seconds) < _KNOWN:
            return
        median, now = statistics.median(self._seconds), time.monotonic()
        for _, started in self._snapshot():
            seconds = now - started.since
            if seconds > max(started.limit, _SLOW * median, _SLOW_SECONDS):
                started.limit = 2 * seconds
                text = f"{started.task.name}: at work for {seconds / 60:.0f} minutes on {started.place}"
                LOG.warning("%s, where the median of %d runs is %.1f.", text, len(self._seconds), median / 60)
