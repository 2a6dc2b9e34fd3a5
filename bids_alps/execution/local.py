"""Runs on this machine: several processes side by side, within an amount of memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Self

from bids_alps.errors import AlpsError, ExecutionError
from bids_alps.execution.engine import Work
from bids_alps.participant import Outcome


class Processes:
    """Several processes, each with one piece of work at a time.

    Every process is a pool of its own: when one dies, the piece that it worked on is lost, and nothing else.

    Parameters
    ----------
    count
        How many processes.
    megabytes
        What all of them may use together, by the estimate of each piece; None for no limit.
    """

    def __init__(self, count: int, megabytes: int | None) -> None:
        self._megabytes = megabytes
        self._idle: list[_Worker | None] = [None] * count  # a process is started when there is work for it
        self._busy: dict[Future[Outcome], tuple[int, int, _Worker]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in (*self._idle, *(worker for _, _, worker in self._busy.values())):
            if worker is not None:
                worker.kill()

    def has_room(self, megabytes: int) -> bool:
        """Whether a process is idle, and its piece would stay within the memory."""
        if not self._busy:
            return True
        used = sum(taken for _, taken, _ in self._busy.values())
        return bool(self._idle) and (self._megabytes is None or used + megabytes <= self._megabytes)

    def submit(self, ticket: int, work: Work, megabytes: int) -> None:
        """Give a piece to an idle process."""
        worker = self._idle.pop() or _Worker()
        self._busy[worker.pool.submit(work)] = (ticket, megabytes, worker)

    def wait(self) -> tuple[int, Outcome | AlpsError]:
        """Return a piece that ended, or died with its process."""
        ended, _ = wait(self._busy, return_when=FIRST_COMPLETED)
        future = ended.pop()
        ticket, megabytes, worker = self._busy.pop(future)
        try:
            outcome = future.result()
        except BrokenProcessPool:
            worker.kill()
            self._idle.insert(0, None)
            remedy = f"give it more memory (some {megabytes} MB expected), or lower --nprocs, and start again"
            return ticket, ExecutionError("process", "it was killed, out of memory perhaps", remedy)
        self._idle.append(worker)
        return ticket, outcome


class _Worker:
    """One spawned process."""

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_start)
        self._pid = self.pool.submit(os.getpid)

    def kill(self) -> None:
        """End the process, whatever it does."""
        if self._pid.done() and not self._pid.exception():
            with suppress(ProcessLookupError):
                os.kill(self._pid.result(), signal.SIGKILL)
        self.pool.shutdown(wait=False, cancel_futures=True)


def _start() -> None:
    """Leave interrupts to the parent, which ends its processes itself; end with a parent that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
