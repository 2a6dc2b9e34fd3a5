"""Participants on this machine: one after the other, or several processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from bids_alps.participant import Outcome, process_participant
from bids_alps.settings import Settings

MEMORY_PER_PROCESS = 1600
"""What a run of ordinary size takes at most, MB."""


def map_participants(labels: Sequence[str], settings: Settings) -> Iterator[list[Outcome]]:
    """Process participants and yield their outcomes, in the order of `labels` whatever the number of processes.

    A process that dies costs the participant that it worked on (those that shared its pool are done again, each by
    a process of its own).
    """
    processes = min(settings.execution.nprocs, len(labels))
    if settings.execution.mem is not None:
        processes = max(1, min(processes, settings.execution.mem // MEMORY_PER_PROCESS))
    if processes == 1:
        yield from (process_participant(label, settings) for label in labels)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(process_participant, label, settings) for label in labels]
        try:
            for label, future in zip(labels, futures, strict=True):
                yield _result_of(label, future, settings)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _result_of(label: str, future: Future[list[Outcome]], settings: Settings) -> list[Outcome]:
    try:
        return future.result()
    except BrokenProcessPool:
        return _alone(label, settings)


def _alone(label: str, settings: Settings) -> list[Outcome]:
    """Process a participant in a process of its own, after the shared ones died."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(process_participant, label, settings).result()
        except BrokenProcessPool:
            message = "the process was killed (out of memory?). Give it more memory, or lower --nprocs."
            return [Outcome(name=f"sub-{label}", message=message, exit_code=1)]
