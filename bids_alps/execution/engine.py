"""Interface between the processing of participants and the engines that execute tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from bids_alps.errors import AlpsError
from bids_alps.participant import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task: a run, or the report of a participant.

    Parameters
    ----------
    participant
        Label without ``sub-``.
    name
        Name of the run or report.
    work
        Function to call; it can be pickled and returns failures as outcomes.
    megabytes
        Estimated peak memory.
    page
        Whether it is a report; reports have priority over runs, so that participants finish one after the other.
    """

    participant: str
    name: str
    work: Callable[[], Outcome]
    megabytes: int
    page: bool = False


class Engine(Protocol):
    """Executes tasks and returns their outcomes in the order in which they finish.

    Leaving the context kills the running tasks.
    """

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(self, *exception: object) -> None:
        """Stop; running tasks are killed."""

    def has_room(self, task: Task) -> bool:
        """Whether a task can be submitted now; always true if no task is running."""
        ...

    def submit(self, task_id: int, task: Task) -> None:
        """Submit a task with an identifier."""

    def wait(self) -> tuple[int, Outcome | AlpsError]:
        """Return the identifier of a finished task with its outcome, or the error that prevented one.

        Raises
        ------
        ExecutionError
            If no further task can finish.
        """
        ...


class InProcess:
    """Executes each task immediately, in this process."""

    def __init__(self) -> None:
        self._ended: list[tuple[int, Outcome]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.clear()

    def has_room(self, task: Task) -> bool:  # noqa: ARG002 -- a single task is always accepted
        """Whether all outcomes have been returned."""
        return not self._ended

    def submit(self, task_id: int, task: Task) -> None:
        """Execute a task."""
        self._ended.append((task_id, task.work()))

    def wait(self) -> tuple[int, Outcome | AlpsError]:
        """Return the oldest finished task with its outcome."""
        return self._ended.pop(0)
