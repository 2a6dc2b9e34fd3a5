"""Runs on a Dask cluster: of this machine, of an address, or of jobs that a batch system starts.

Dask sees to workers that come and go, memory limits and runs whose worker died; a run may be done twice, which its
outputs allow.
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
"""Runs that the scheduler knows of at the same time; enough to keep every worker busy."""
_DEATHS = 2
"""A run is given up when more workers than this died of it."""
_CONFIG = {
    "distributed.scheduler.allowed-failures": _DEATHS,
    "distributed.scheduler.worker-saturation": 1.0,  # a run that waits at a worker would share the blame for its death
    # in the place of Dask's, whose MALLOC_TRIM_THRESHOLD_ makes large arrays come and go for ever
    "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1, **WORKER_ENVIRONMENT},
    "distributed.worker.profile.enabled": False,  # nobody reads it, and it stops the work a hundred times a second
    "distributed.admin.system-monitor.interval": "5s",
    "logging": {"distributed": "critical", "tornado": "critical"},  # what matters is in the outcomes
}
_RETRIES = 1
"""How often a run is done again that could not even begin, such as for want of a shared folder."""
_WITHOUT_WORKERS_MINUTES = 10.0
_IN_QUEUE_MINUTES = 24 * 60.0  # jobs may wait for long
_REMINDER_SECONDS = 600.0
_MARK = "dataset_description.json"
_ONE_AT_A_TIME = threading.Lock()


class Cluster:
    """A Dask cluster as the settings say.

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
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._watch = Watch(settings.execution.timeout)
        self._cluster: Any = None
        self._client: Any = None

    def __enter__(self) -> Self:
        import dask

        dask.config.set(_CONFIG)
        import distributed  # reads how much to log when it is imported

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
                with suppress(TimeoutError):  # on a busy machine; what is left ends with this process
                    part.close(timeout=CLOSING_SECONDS)

    @property
    def _topic(self) -> str:
        return f"bids-alps-{self._settings.execution.run_uuid}"

    def has_room(self, task: Task) -> bool:
        """Whether the scheduler takes more, and what it has would stay within the memory."""
        if not self._tasks:
            return True
        used = sum(other.megabytes for other, _ in self._tasks.values())
        allowed = self._settings.execution.mem
        return len(self._tasks) < _WINDOW and (allowed is None or used + task.megabytes <= allowed)

    def submit(self, task_id: int, task: Task) -> None:
        """Hand a task to the scheduler."""
        call = (_work, task.work, self._settings, code_name(), task_id)
        key = f"{self._topic}-{task_id}"
        future = self._client.submit(*call, key=key, retries=_RETRIES, priority=int(task.page), pure=False)
        self._tasks[task_id] = task, future
        future.add_done_callback(lambda _: self._ended.put(task_id))

    def wait(self) -> tuple[int, Outcome | AlpsError]:
        """Return a task that ended, or that was given up."""
        while True:
            if (hopeless := self._find_hopeless()) is not None:
                return hopeless, self._give_up(hopeless)
            self._look_after_workers()
            try:
                task_id = self._ended.get(timeout=TICK_SECONDS)
            except queue.Empty:
                continue
            if task_id in self._tasks:  # or it was given up
                return task_id, self._finish(task_id)

    def _finish(self, task_id: int) -> Outcome | AlpsError:
        from distributed.comm.core import CommClosedError

        _, future = self._tasks.pop(task_id)
        self._watch.stop(task_id)
        try:
            outcome: Outcome = future.result()
        except (asyncio.CancelledError, concurrent.futures.CancelledError, CommClosedError, TimeoutError) as error:
            raise _scheduler_gone() from error
        except Exception as error:  # noqa: BLE001 -- whatever a worker raised: the other runs go on
            return _explained(error)
        return outcome

    def _find_hopeless(self) -> int | None:
        task_id = self._watch.find_hopeless()
        if task_id is not None and task_id not in self._tasks:  # its start was reported after its end
            self._watch.stop(task_id)
            return None
        return None if task_id is None or self._tasks[task_id][1].done() else task_id

    def _give_up(self, task_id: int) -> AlpsError:
        """Drop a task that is hopeless, and have its worker ended and started again by its nanny."""
        _, future = self._tasks.pop(task_id)
        error = self._watch.explain(task_id)
        address = self._watch.stop(task_id)
        future.cancel()
        threading.Thread(target=_restart, args=(self._client, address), daemon=True).start()
        return error

    def _note_start(self, event: tuple[float, Any]) -> None:
        """Take note that a worker begins a task; the scheduler passes it on."""
        task_id, address = event[1]
        if (known := self._tasks.get(task_id)) is not None:
            self._watch.start(task_id, known[0], address)

    def _look_after_workers(self) -> None:
        """Replace jobs that ended; end where no worker has been there for long."""
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
    """Whether there are workers, and since when there have been none."""

    def __init__(self, execution: Execution) -> None:
        usual = _WITHOUT_WORKERS_MINUTES if execution.dask_config is None else _IN_QUEUE_MINUTES
        self._limit = 60 * (usual if execution.worker_timeout is None else execution.worker_timeout)
        self._looked = self._seen = self._reminded = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time to look again."""
        due = time.monotonic() - self._looked >= TICK_SECONDS
        if due:
            self._looked = time.monotonic()
        return due

    def note(self, threads: Mapping[str, int]) -> None:
        """Take note of the workers that there are; raise where there have been none for too long."""
        now = time.monotonic()
        if threads:
            self._seen = self._reminded = now
            return
        if now - self._seen > self._limit:
            raise ExecutionError(
                "dask",
                f"no worker for {(now - self._seen) / 60:.3g} minutes",
                "look into the logs of workers or jobs, or give them longer by --worker-timeout, and start again",
            )
        if now - self._reminded > _REMINDER_SECONDS:
            self._reminded = now
            LOG.warning("No worker for %.0f minutes; runs wait for one.", (now - self._seen) / 60)


def check_threads(threads: Mapping[str, int]) -> None:
    """Refuse workers of several threads: a run has its own log, and figures drawn side by side are not the same bytes.

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
            f"start them by dask worker --nthreads 1 --nworkers {number}",
        )


def _work(work: Callable[[], Outcome], settings: Settings, version: str, task_id: int) -> Outcome:
    """Do a task on a worker, which may be on another machine."""
    from distributed import get_worker

    with _ONE_AT_A_TIME:  # of a worker of several threads that came later
        worker = get_worker()
        _check_worker(settings, version, worker.address)
        prepare_machine(settings)
        worker.log_event(f"bids-alps-{settings.execution.run_uuid}", (task_id, worker.address))
        return work()


def _check_worker(settings: Settings, version: str, address: str) -> None:
    if version != (there := code_name()):
        raise ExecutionError(
            f"worker {address}", f"bids-alps {there} there, {version} here", "install the same one everywhere"
        )
    for folder in (settings.request.bids_dir, settings.request.output_dir):
        if not Path(folder, _MARK).is_file():
            raise ExecutionError(
                f"worker {address}",
                f"it does not see {folder}",
                "have dataset and output on a file system that all workers share, under the same path",
            )


def _restart(client: Any, address: str) -> None:
    with suppress(Exception):  # it has no nanny, or is gone
        client.restart_workers([address], raise_for_error=False)


def _scheduler_gone() -> ExecutionError:
    return ExecutionError("dask", "the scheduler went away", "start again when it is back; runs that ended are kept")


def _explained(error: BaseException) -> AlpsError:
    from distributed.scheduler import KilledWorker

    if isinstance(error, AlpsError):
        return error
    if isinstance(error, KilledWorker):
        return ExecutionError("worker", f"{_DEATHS + 1} workers died of this run", "give workers more memory")
    return ExecutionError("worker", f"{type(error).__name__}: {error}", "look into the log of the worker")


def _start(execution: Execution) -> Any:
    """Start a cluster with as many workers as runs are to be worked on at the same time."""
    if execution.dask_config is not None:
        return Jobs(execution.dask_config, execution.nprocs)
    from distributed import LocalCluster

    workers, limit = execution.nprocs, "0"
    if execution.mem is not None:  # what runs take together is bounded by their estimates
        workers = max(1, min(workers, execution.mem // BASE_MEGABYTES))
        limit = f"{execution.mem}MB"
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        memory_limit=limit,
        dashboard_address=None,
    )
