"""Processing on this machine, by several processes within a memory limit."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Self

from bids_alps.errors import AlpsError, ExecutionError
from bids_alps.execution.engine import Task
from bids_alps.execution.machine import prepare_machine
from bids_alps.execution.watch import TICK_SECONDS, Watch
from bids_alps.participant import Outcome
from bids_alps.settings import Settings


class Processes:
    """Several processes, each with one task at a time.

    Every process is a pool of its own: if one dies, or is killed because its task takes too long, only that task is
    lost.

    Parameters
    ----------
    settings
        Number of processes, total memory limit (compared with the estimates of tasks), and time limit per task.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # processes are started when they are needed
        self._idle: list[_Worker | None] = [None] * settings.execution.nprocs
        self._busy: dict[Future[Outcome], tuple[int, Task, _Worker]] = {}
        self._watch = Watch(settings.execution.timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in (*self._idle, *(worker for _, _, worker in self._busy.values())):
            if worker is not None:
                worker.kill()

    def has_room(self, task: Task) -> bool:
        """Whether a process is idle and the task fits into the memory limit."""
        if not self._busy:
            return True
        used = sum(other.megabytes for _, other, _ in self._busy.values())
        allowed = self._settings.execution.mem
        return bool(self._idle) and (allowed is None or used + task.megabytes <= allowed)

    def submit(self, task_id: int, task: Task) -> None:
        """Give a task to an idle process."""
        worker = self._idle.pop() or _Worker(self._settings)
        self._busy[worker.pool.submit(task.work)] = (task_id, task, worker)
        self._watch.start(task_id, task, "this machine")

    def wait(self) -> tuple[int, Outcome | AlpsError]:
        """Return a task that finished, was lost with its process, or exceeded its time limit."""
        while True:
            if (late := self._watch.find_hopeless()) is not None:
                future = next(future for future, (task_id, _, _) in self._busy.items() if task_id == late)
                if not future.done():
                    return self._give_up(future, self._watch.explain(late))
            self._watch.name_stragglers()
            finished, _ = wait(self._busy, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
            if finished:
                return self._finish(finished.pop())

    def _finish(self, future: Future[Outcome]) -> tuple[int, Outcome | AlpsError]:
        task_id, task, worker = self._busy[future]
        try:
            outcome = future.result()
        except BrokenProcessPool:
            remedy = f"increase the memory (about {task.megabytes} MB expected), or lower --nprocs, and run again"
            return self._give_up(future, ExecutionError("process", "it was killed, probably out of memory", remedy))
        del self._busy[future]
        self._watch.stop(task_id)
        self._idle.append(worker)
        return task_id, outcome

    def _give_up(self, future: Future[Outcome], error: AlpsError) -> tuple[int, AlpsError]:
        """Kill the process of a task; a new one is started for the next task."""
        task_id, _, worker = self._busy.pop(future)
        self._watch.stop(task_id)
        worker.kill()
        self._idle.insert(0, None)
        return task_id, error


class _Worker:
    """One spawned process."""

    def __init__(self, settings: Settings) -> None:
        others = multiprocessing.active_children()
        spawn = multiprocessing.get_context("spawn")
        receiver, sender = spawn.Pipe(duplex=False)
        level = logging.getLogger("bids_alps").getEffectiveLevel()
        self.pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_start, initargs=(settings, sender, level))
        self.pool.submit(os.getpid)  # the process is started for its first task
        self._processes = [process for process in multiprocessing.active_children() if process not in others]
        sender.close()  # the process has its own
        threading.Thread(target=_relay, args=(receiver,), daemon=True).start()

    def kill(self) -> None:
        """Kill the process, even if it hangs before its first task."""
        for process in self._processes:
            process.kill()
        self.pool.shutdown(wait=False, cancel_futures=True)


class _Sender(QueueHandler):
    """Sends log records through a pipe of its own, so that a killed process cannot block the others."""

    def __init__(self, sender: Connection) -> None:
        super().__init__(queue.Queue())  # not used
        self._sender = sender

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send a record; the parent process may have ended."""
        with suppress(OSError):
            self._sender.send(record)


def _relay(receiver: Connection) -> None:
    """Pass the log records of a process to the handlers of this one, until it ends."""
    with suppress(EOFError, OSError), receiver:
        while True:
            record = receiver.recv()
            logging.getLogger(record.name).handle(record)


def _start(settings: Settings, sender: Connection, level: int) -> None:
    """Initialize a process: interrupts are handled by the parent, and the process exits if the parent is killed."""
    prepare_machine(settings)
    logging.getLogger().addHandler(_Sender(sender))
    logging.getLogger("bids_alps").setLevel(level)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
