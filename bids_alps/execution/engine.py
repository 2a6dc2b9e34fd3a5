"""What works through runs: the seam between the story of a study and the machines that do the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from bids_alps.errors import AlpsError
from bids_alps.participant import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task: a run, or the page of a participant.

    Parameters
    ----------
    participant
        Whose it is.
    name
        Name of the run or page.
    work
        What to do; it can be pickled, and it tells a failure in its outcome.
    megabytes
        What it may take.
    page
        Whether it is a page, which goes before runs so that participants end one after the other.
    """

    participant: str
    name: str
    work: Callable[[], Outcome]
    megabytes: int
    page: bool = False


class Engine(Protocol):
    """Takes tasks and gives back what became of each, in the order in which they end.

    Leaving the context ends what is still under way at once.
    """

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(self, *exception: object) -> None:
        """Stop; whatever is under way is lost."""

    def has_room(self, task: Task) -> bool:
        """Whether a task can be submitted now; always true when nothing is under way."""
        ...

    def submit(self, task_id: int, task: Task) -> None:
        """Take a task under a number."""

    def wait(self) -> tuple[int, Outcome | AlpsError]:
        """Return the number of a task that ended with its outcome, or with why there is none.

        Raises
        ------
        ExecutionError
            If no task can end any more.
        """
        ...


class InProcess:
    """Does each task at once, in this process."""

    def __init__(self) -> None:
        self._ended: list[tuple[int, Outcome]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.clear()

    def has_room(self, task: Task) -> bool:  # noqa: ARG002 -- one task is let through, whatever it takes
        """Whether nothing is waiting to be collected."""
        return not self._ended

    def submit(self, task_id: int, task: Task) -> None:
        """Do a task."""
        self._ended.append((task_id, task.work()))

    def wait(self) -> tuple[int, Outcome | AlpsError]:
        """Return what was done."""
        return self._ended.pop(0)
