"""Runs on this machine: several processes side by side, within an amount of memory."""

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

    Every process is a pool of its own: when one dies, or is ended because its task takes too long, that task is lost,
    and nothing else.

    Parameters
    ----------
    settings
        How many processes, what all of them may use together, by the estimate of each task, and how long one may take.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # a process is started when there is work for it
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
        """Whether a process is idle, and its task would stay within the memory."""
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
        """Return a task that ended, died with its process, or took more than its time."""
        while True:
            if (late := self._watch.find_hopeless()) is not None:
                future = next(future for future, (task_id, _, _) in self._busy.items() if task_id == late)
                if not future.done():
                    return self._give_up(future, self._watch.explain(late))
            self._watch.name_stragglers()
            ended, _ = wait(self._busy, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
            if ended:
                return self._finish(ended.pop())

    def _finish(self, future: Future[Outcome]) -> tuple[int, Outcome | AlpsError]:
        task_id, task, worker = self._busy[future]
        try:
            outcome = future.result()
        except BrokenProcessPool:
            remedy = f"give it more memory (some {task.megabytes} MB expected), or lower --nprocs, and start again"
            return self._give_up(future, ExecutionError("process", "it was killed, out of memory perhaps", remedy))
        del self._busy[future]
        self._watch.stop(task_id)
        self._idle.append(worker)
        return task_id, outcome

    def _give_up(self, future: Future[Outcome], error: AlpsError) -> tuple[int, AlpsError]:
        """End the process of a task; another one is started for the next."""
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
        """End the process, whatever it does, also one that hangs before it takes its first task."""
        for process in self._processes:
            process.kill()
        self.pool.shutdown(wait=False, cancel_futures=True)


class _Sender(QueueHandler):
    """Sends log records through a pipe of this process alone, so that its death blocks no other one."""

    def __init__(self, sender: Connection) -> None:
        super().__init__(queue.Queue())  # not used
        self._sender = sender

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send a record; the parent may have gone."""
        with suppress(OSError):
            self._sender.send(record)


def _relay(receiver: Connection) -> None:
    """Hand the log records of a process to the handlers of this one, until it ends."""
    with suppress(EOFError, OSError), receiver:
        while True:
            record = receiver.recv()
            logging.getLogger(record.name).handle(record)


def _start(settings: Settings, sender: Connection, level: int) -> None:
    """Prepare a process: the parent alone sees interrupts, and ends it; it does not outlive a parent that is killed."""
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
