"""Processing on a Dask cluster: local, at an address, or in jobs of a batch system.

Dask handles workers that come and go, memory limits and runs of killed workers; a run may be processed twice, which
is safe because files are written atomically.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from bids_alps.errors import AlpsError, ExecutionError
from bids_alps.execution.engine import Task
from bids_alps.execution.jobs import CLOSING_SECONDS, WORKER_ENVIRONMENT, Jobs, check_dask
from bids_alps.execution.machine import prepare_machine
from bids_alps.execution.memory import BASE_MEGABYTES
from bids_alps.execution.watch import TICK_SECONDS, Watch
from bids_alps.identity import code_name
from bids_alps.participant import Outcome
from bids_alps.settings import Execution, Settings

LOG = logging.getLogger(__name__)
_WINDOW = 500
"""Maximum number of runs at the scheduler at the same time; enough to keep every worker busy."""
_DEATHS = 2
"""A run fails when more workers than this died while processing it."""
_CONFIG = {
    "distributed.scheduler.allowed-failures": _DEATHS,
    "distributed.scheduler.worker-saturation": 1.0,  # a run queued at a worker would also be blamed for its death
    # replaces Dask's, whose MALLOC_TRIM_THRESHOLD_ returns freed arrays to the system all the time
    "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1, **WORKER_ENVIRONMENT},
    "distributed.worker.profile.enabled": False,  # not used, and it interrupts the work a hundred times a second
    "distributed.admin.system-monitor.interval": "5s",
    "logging": {"distributed": "critical", "tornado": "critical"},  # relevant errors are in the outcomes
}
_RETRIES = 1
"""Retries of a run that could not start, such as because a shared folder was missing."""
_WITHOUT_WORKERS_MINUTES = 10.0
_IN_QUEUE_MINUTES = 24 * 60.0  # jobs may be queued for long
_REMINDER_SECONDS = 600.0
_MARK = "dataset_description.json"
_ONE_AT_A_TIME = threading.Lock()


class Cluster:
    """A Dask cluster, configured by the settings.

    Raises
    ------
    UsageError
        If Dask is not installed, or the configuration cannot be used.
    ExecutionError
        If there is no scheduler at the address, or a worker has several threads.
    """

    def __init__(self, settings: Settings) -> None:
        check_dask(settings.execution.dask_config)
        self._settings = settings
        self._tasks: dict[int, tuple[Task, Any]] = {}
        self._finished: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._watch = Watch(settings.execution.timeout)
        self._cluster: Any = None
        self._client: Any = None

    def __enter__(self) -> Self:
        import dask

        dask.config.set(_CONFIG)
        import distributed  # reads the log level when imported

        execution = self._settings.execution
        if execution.dask_address is None:
            self._cluster = _start(execution)
        address = execution.dask_address or getattr(self._cluster, "cluster", self._cluster)
        try:
            self._client = distributed.Client(address, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ExecutionError(
                "--dask-address", f"no scheduler at {address} ({error})", "start one, or check the address"
            ) from error
        self._presence = _Presence(execution)
        try:
            check_threads(self._client.nthreads())
            self._client.subscribe_topic(self._topic, self._note_start)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for part in (self._client, self._cluster):
            if part is not None:
                with suppress(TimeoutError):  # on a busy machine; the rest ends with this process
                    part.close(timeout=CLOSING_SECONDS)

    @property
    def _topic(self) -> str:
        return f"bids-alps-{self._settings.execution.run_uuid}"

    def has_room(self, task: Task) -> bool:
        """Whether the scheduler accepts another task, and it fits into the memory limit."""
        if not self._tasks:
            return True
        used = sum(other.megabytes for other, _ in self._tasks.values())
        allowed = self._settings.execution.mem
        return len(self._tasks) < _WINDOW and (allowed is None or used + task.megabytes <= allowed)

    def submit(self, task_id: int, task: Task) -> None:
        """Submit a task to the scheduler."""
        call = (_work, task.work, self._settings, code_name(), task_id)
        key = f"{self._topic}-{task_id}"
        future = self._client.submit(*call, key=key, retries=_RETRIES, priority=int(task.page), pure=False)
        self._tasks[task_id] = task, future
        future.add_done_callback(lambda _: self._finished.put(task_id))

    def wait(self) -> tuple[int, Outcome | AlpsError]:
        """Return a task that finished or was given up."""
        while True:
            if (hopeless := self._find_hopeless()) is not None:
                return hopeless, self._give_up(hopeless)
            self._check_workers()
            try:
                task_id = self._finished.get(timeout=TICK_SECONDS)
            except queue.Empty:
                continue
            if task_id in self._tasks:  # else it was given up
                return task_id, self._finish(task_id)

    def _finish(self, task_id: int) -> Outcome | AlpsError:
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker

        _, future = self._tasks.pop(task_id)
        self._watch.stop(task_id)
        try:
            outcome: Outcome = future.result()
        except (asyncio.CancelledError, concurrent.futures.CancelledError, CommClosedError, TimeoutError) as error:
            raise _scheduler_gone() from error
        except AlpsError as error:
            return error
        except KilledWorker:
            what = f"{_DEATHS + 1} workers died while processing this run"
            return ExecutionError("worker", what, "give workers more memory")
        except Exception as error:  # noqa: BLE001 -- an error of one worker must not stop the other runs
            return ExecutionError("worker", f"{type(error).__name__}: {error}", "check the log of the worker")
        return outcome

    def _find_hopeless(self) -> int | None:
        task_id = self._watch.find_hopeless()
        if task_id is not None and task_id not in self._tasks:  # its start was reported after its end
            self._watch.stop(task_id)
            return None
        return None if task_id is None or self._tasks[task_id][1].done() else task_id

    def _give_up(self, task_id: int) -> AlpsError:
        """Drop a task, and have its worker restarted by its nanny."""
        _, future = self._tasks.pop(task_id)
        error = self._watch.explain(task_id)
        address = self._watch.stop(task_id)
        future.cancel()
        threading.Thread(target=_restart, args=(self._client, address), daemon=True).start()
        return error

    def _note_start(self, event: tuple[float, Any]) -> None:
        """Record that a worker has started a task, by an event from the scheduler."""
        task_id, address = event[1]
        if (known := self._tasks.get(task_id)) is not None:
            self._watch.start(task_id, known[0], address)

    def _check_workers(self) -> None:
        """Replace jobs that ended; raise if there has been no worker for too long."""
        self._watch.name_stragglers()
        if not self._presence.is_due():
            return
        if isinstance(self._cluster, Jobs):
            self._cluster.replace_ended()
        try:
            threads = self._client.nthreads()
        except (OSError, asyncio.CancelledError, concurrent.futures.CancelledError) as error:
            raise _scheduler_gone() from error
        self._presence.note(threads)


class _Presence:
    """Keeps track of whether there are workers."""

    def __init__(self, execution: Execution) -> None:
        usual = _WITHOUT_WORKERS_MINUTES if execution.dask_config is None else _IN_QUEUE_MINUTES
        self._limit = 60 * (usual if execution.worker_timeout is None else execution.worker_timeout)
        self._last_check = self._last_worker = self._last_reminder = time.monotonic()

    def is_due(self) -> bool:
        """Whether the next check is due."""
        due = time.monotonic() - self._last_check >= TICK_SECONDS
        if due:
            self._last_check = time.monotonic()
        return due

    def note(self, threads: Mapping[str, int]) -> None:
        """Record the current workers; raise if there have been none for too long."""
        now = time.monotonic()
        if threads:
            self._last_worker = self._last_reminder = now
            return
        if now - self._last_worker > self._limit:
            raise ExecutionError(
                "dask",
                f"no worker for {round((now - self._last_worker) / 60, 2):g} minutes",
                "check the logs of workers or jobs, or increase --worker-timeout, and run again",
            )
        if now - self._last_reminder > _REMINDER_SECONDS:
            self._last_reminder = now
            LOG.warning("No worker for %.0f minutes; runs are waiting.", (now - self._last_worker) / 60)


def check_threads(threads: Mapping[str, int]) -> None:
    """Refuse workers with several threads: logs are per process, and figures plotted concurrently are not reproducible.

    Raises
    ------
    ExecutionError
        If there is one.
    """
    several = {address: number for address, number in threads.items() if number > 1}
    if several:
        address, number = min(several.items())
        raise ExecutionError(
            "--dask-address",
            f"{len(several)} of {len(threads)} workers have several threads, such as {address} with {number}",
            f"start them with dask worker --nthreads 1 --nworkers {number}",
        )


def _work(work: Callable[[], Outcome], settings: Settings, version: str, task_id: int) -> Outcome:
    """Execute a task on a worker, which may be on another machine."""
    from distributed import get_worker

    with _ONE_AT_A_TIME:  # in case a worker with several threads joined later
        worker = get_worker()
        _check_worker(settings, version, worker.address)
        prepare_machine(settings)
        worker.log_event(f"bids-alps-{settings.execution.run_uuid}", (task_id, worker.address))
        return work()


def _check_worker(settings: Settings, version: str, address: str) -> None:
    if version != (remote := code_name()):
        raise ExecutionError(
            f"worker {address}",
            f"bids-alps {remote} on the worker, {version} here",
            "install the same version everywhere",
        )
    for folder in (settings.request.bids_dir, settings.request.output_dir):
        if not Path(folder, _MARK).is_file():
            raise ExecutionError(
                f"worker {address}",
                f"it does not see {folder}",
                "put dataset and output on a file system that all workers share, at the same path",
            )


def _restart(client: Any, address: str) -> None:
    with suppress(Exception):  # it has no nanny, or has ended
        client.restart_workers([address], raise_for_error=False)


def _scheduler_gone() -> ExecutionError:
    return ExecutionError(
        "dask", "the connection to the scheduler was lost", "run again when it is back; finished runs are kept"
    )


def _start(execution: Execution) -> Any:
    """Start a cluster with one worker per run to process in parallel."""
    if execution.dask_config is not None:
        return Jobs(execution.dask_config, execution.nprocs)
    from distributed import LocalCluster

    workers, limit = execution.nprocs, "0"
    if execution.mem is not None:  # total memory is limited by the estimates of the runs
        workers = max(1, min(workers, execution.mem // BASE_MEGABYTES))
        limit = f"{execution.mem}MB"
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        memory_limit=limit,
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # its metrics: any free port rather than 8787
    )
