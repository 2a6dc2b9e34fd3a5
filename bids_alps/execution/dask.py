"""Runs on a Dask cluster: of this machine, of an address, or of jobs that a batch system starts.

Dask sees to workers that come and go, memory limits and runs whose worker died; a run may be done twice, which its
outputs allow.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from bids_alps.errors import AlpsError, ExecutionError, UsageError
from bids_alps.execution.engine import Task
from bids_alps.execution.machine import prepare_machine
from bids_alps.execution.memory import BASE_MEGABYTES
from bids_alps.participant import Outcome
from bids_alps.settings import Execution, Settings

SYSTEMS = ("slurm", "pbs", "sge", "lsf")
_WINDOW = 500
"""Runs that the scheduler knows of at the same time; enough to keep every worker busy."""
_DEATHS = 2
"""A run is given up when more workers than this died of it."""
_ENVIRONMENT = {
    "OMP_NUM_THREADS": 1,
    "OPENBLAS_NUM_THREADS": 1,
    "MALLOC_ARENA_MAX": 1,  # a thread's own arena would fetch large arrays anew
}
"""Of workers, in the place of Dask's, whose ``MALLOC_TRIM_THRESHOLD_`` makes large arrays come and go for ever."""
_CONFIG = {
    "distributed.scheduler.allowed-failures": _DEATHS,
    "distributed.scheduler.worker-saturation": 1.0,  # a run that waits at a worker would share the blame for its death
    "distributed.nanny.pre-spawn-environ": _ENVIRONMENT,
    "distributed.worker.profile.enabled": False,  # nobody reads it, and it stops the work a hundred times a second
    "distributed.admin.system-monitor.interval": "5s",
    "logging": {"distributed": "critical", "tornado": "critical"},  # what matters is told by the outcomes
}
_ANY_PORT = ":0"
_CLOSING_SECONDS = 20
_RETRIES = 1
"""How often a run is done again that could not even begin, such as for want of a shared folder."""


class Cluster:
    """A Dask cluster as the settings say.

    Raises
    ------
    UsageError
        If Dask is not installed, or the configuration cannot be used.
    ExecutionError
        If there is no scheduler at the address.
    """

    def __init__(self, settings: Settings) -> None:
        missing = next((name for name in ("distributed", "dask_jobqueue") if find_spec(name) is None), None)
        if missing is not None:
            raise UsageError("--executor dask", f"{missing} is not installed", "pip install 'bids-alps[dask]'")
        self._settings = settings
        self._under_way = 0
        self._cluster: Any = None

    def __enter__(self) -> Self:
        import dask

        dask.config.set(_CONFIG)
        import distributed  # reads how much to log when it is imported

        execution = self._settings.execution
        if execution.dask_address is None:
            self._cluster = _start(execution)
        address = execution.dask_address or self._cluster
        try:
            self._client = distributed.Client(address, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ExecutionError(
                "--dask-address", f"no scheduler at {address} ({error})", "start one, or check the address"
            ) from error
        self._ended = distributed.as_completed(loop=self._client.loop)
        return self

    def __exit__(self, *exception: object) -> None:
        for part in (self._client, self._cluster):
            if part is not None:
                with suppress(TimeoutError):  # on a busy machine; what is left ends with this process
                    part.close(timeout=_CLOSING_SECONDS)

    def has_room(self, task: Task) -> bool:  # noqa: ARG002 -- memory is the workers' own limit
        """Whether the scheduler takes more."""
        return self._under_way < _WINDOW

    def submit(self, task_id: int, task: Task) -> None:
        """Hand a piece to the scheduler."""
        key = f"bids-alps-{self._settings.execution.run_uuid}-{task_id}"
        future = self._client.submit(
            _work, task.work, self._settings, key=key, retries=_RETRIES, priority=int(task.page), pure=False
        )
        self._ended.add(future)
        self._under_way += 1

    def wait(self) -> tuple[int, Outcome | AlpsError]:
        """Return a piece that ended, or that was given up."""
        from distributed.comm.core import CommClosedError

        future = next(self._ended)
        self._under_way -= 1
        task_id = int(future.key.rpartition("-")[2])
        try:
            outcome: Outcome = future.result()
        except (asyncio.CancelledError, concurrent.futures.CancelledError, CommClosedError, TimeoutError) as error:
            raise ExecutionError(
                "dask", "the scheduler went away", "start again when it is back; runs that ended are kept"
            ) from error
        except Exception as error:  # noqa: BLE001 -- whatever a worker raised: the other runs go on
            return task_id, _explained(error)
        return task_id, outcome


def _work(work: Callable[[], Outcome], settings: Settings) -> Outcome:
    """Do a piece on a worker, which may be on another machine."""
    prepare_machine(settings)
    return work()


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
        return _start_jobs(execution.dask_config, execution.nprocs)
    from distributed import LocalCluster

    workers, limit = execution.nprocs, "0"
    if execution.mem is not None:
        workers = max(1, min(workers, execution.mem // BASE_MEGABYTES))
        limit = f"{execution.mem // workers}MB"
    return LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, memory_limit=limit, dashboard_address=_ANY_PORT
    )


def _start_jobs(path: Path, workers: int) -> Any:
    import dask
    import dask_jobqueue

    system, asked = read_jobs(path)
    prologue = ["export MALLOC_ARENA_MAX=1", *(asked.get("job-script-prologue") or ())]
    settings = {**dask.config.get(f"jobqueue.{system}"), **asked, "job-script-prologue": prologue}
    dask.config.set({f"jobqueue.{system}": settings})
    try:
        cluster = getattr(dask_jobqueue, f"{system.upper()}Cluster")(scheduler_options={"dashboard_address": _ANY_PORT})
    except (TypeError, ValueError) as error:
        raise UsageError(str(path), str(error), "see the documentation of dask-jobqueue") from error
    cluster.scale(workers)
    _wait_for_submission(cluster, workers, str(path))
    return cluster


def _wait_for_submission(cluster: Any, jobs: int, path: str) -> None:
    """Wait until jobs are submitted, not until they run; Dask tells a refusal to its log alone, and waits for ever."""
    from distributed.core import Status

    while len(cluster.workers) < jobs:
        time.sleep(0.1)
    refused = [job for job in cluster.workers.values() if job.status == Status.created]
    if not refused:
        return
    for job in refused:
        job.status = Status.failed  # or it could not be closed
    command = refused[0].submit_command
    cluster.close(timeout=_CLOSING_SECONDS)
    raise ExecutionError(
        path, f"{len(refused)} of {jobs} jobs could not be submitted by {command}", "try what a job asks for by hand"
    )


def read_jobs(path: Path) -> tuple[str, dict[str, Any]]:
    """Read which batch system to use, and what a job asks of it, from a configuration of dask-jobqueue.

    Raises
    ------
    UsageError
        If the file is no YAML or TOML with ``jobqueue`` and one of `SYSTEMS` below it.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError("--dask-config", f"{path} cannot be read ({error})", "give a YAML or TOML file") from error
    jobs = content.get("jobqueue") if isinstance(content, dict) else None
    asked: dict[str, Any] = jobs if isinstance(jobs, dict) else {}
    named = [name for name in SYSTEMS if isinstance(asked.get(name), dict)]
    if len(named) != 1:
        found = ", ".join(named) or "none"
        raise UsageError(str(path), f"{found} of jobqueue.{', jobqueue.'.join(SYSTEMS)} is there", "keep just one")
    return named[0], asked[named[0]]
