"""Dask workers in jobs of a batch system, by dask-jobqueue; jobs that end are replaced."""

from __future__ import annotations

import logging
import math
import subprocess
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bids_alps.errors import ExecutionError, UsageError

LOG = logging.getLogger(__name__)
SYSTEMS = ("slurm", "pbs", "sge", "lsf")
_LOST_SECONDS = 20.0
"""A job without its workers for this long has ended. Until then a worker that lost its connection may reconnect, and
Dask, which closes such jobs but does not always replace them, has replaced it or not."""
_FRUITLESS = 2
"""Replacements of each job that may end before a worker connects."""
CLOSING_SECONDS = 20


class Jobs:
    """Jobs that each start one or several workers.

    ``Cluster.scale`` and ``Cluster.adapt`` are not enough: the first replaces no job, the second none with several
    workers, none that could not be submitted, and none that ended before its worker connected.

    Parameters
    ----------
    path
        Configuration of dask-jobqueue, see `read_jobs`.
    workers
        Number of runs to process in parallel.

    Raises
    ------
    UsageError
        If the configuration cannot be used.
    ExecutionError
        If a job is refused.
    """

    def __init__(self, path: Path, workers: int) -> None:
        self._path = path
        self._system, job_options = read_jobs(path)
        processes = workers_per_job(path, job_options)
        self._count = math.ceil(workers / processes)
        self.cluster = _start_cluster(path, self._system, job_options, processes)
        self._connected_before: set[str] = set()
        self._idle_since: dict[str, float] = {}
        self._fruitless = 0
        self.cluster.scale(jobs=self._count)
        self._wait_for_submission()

    def close(self, timeout: float = CLOSING_SECONDS) -> None:
        """End all jobs and the scheduler."""
        self.cluster.close(timeout=timeout)

    def replace_ended(self) -> None:
        """Submit a new job for each that ended, was lost, or was refused.

        Raises
        ------
        ExecutionError
            If jobs keep ending before a worker connects.
        """
        ended = self._find_ended()
        if not ended:
            return
        LOG.info("%d of %d jobs ended and will be replaced.", len(ended), self._count)
        if self._fruitless > _FRUITLESS * self._count:
            raise ExecutionError(
                str(self._path), f"{self._fruitless} jobs ended before a worker connected", "check their logs"
            )
        self.cluster.sync(self._replace, ended)

    def _find_ended(self) -> set[str]:
        """Return names of jobs that lost their workers, are unknown to the batch system, or were never accepted."""
        names, jobs, connected = self.cluster.sync(self._look)
        now = time.monotonic()
        active = {
            name for name in names if any(worker == name or worker.startswith(f"{name}-") for worker in connected)
        }
        if active:
            self._fruitless = 0
        self._connected_before |= active
        self._idle_since = {name: self._idle_since.get(name, now) for name in names - active}
        idle = {name for name, since in self._idle_since.items() if now - since > _LOST_SECONDS}
        ended = {name for name in idle if name in self._connected_before or name not in jobs}
        refused = {name for name in idle - ended if _was_refused(jobs[name])}
        waiting = {name: str(jobs[name].job_id) for name in idle - ended - refused}
        queued = self._queued(list(waiting.values())) if waiting else set()
        gone = {name for name, job_id in waiting.items() if job_id not in queued}
        self._fruitless += len(refused | gone)
        return ended | refused | gone

    async def _look(self) -> tuple[set[str], dict[str, Any], set[str]]:
        """Return names of requested jobs, jobs by name, and names of connected workers, all at the same time."""
        connected = {str(worker.name) for worker in self.cluster.scheduler.workers.values()}
        return set(self.cluster.worker_spec), dict(self.cluster.workers), connected

    async def _replace(self, ended: set[str]) -> None:
        """Remove jobs that ended, and submit new ones with their names."""
        for job in (self.cluster.workers[name] for name in ended if name in self.cluster.workers):
            if _was_refused(job):
                job.status = _failed()  # else it could not be closed
        await self.cluster.scale_down(ended)
        self.cluster.scale(jobs=self._count)
        self._connected_before -= ended
        for name in ended:
            self._idle_since.pop(name, None)

    def _queued(self, job_ids: list[str]) -> set[str]:
        """Return which jobs the batch system still has; all of them if it cannot be queried."""
        if self._system != "slurm":
            return set(job_ids)
        command = ["squeue", "--noheader", "--format=%A", "--jobs", ",".join(job_ids)]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 -- no shell
        except (OSError, subprocess.TimeoutExpired):
            return set(job_ids)
        unknown = "Invalid job id" in result.stderr
        return set(result.stdout.split()) if unknown or not result.returncode else set(job_ids)

    def _wait_for_submission(self) -> None:
        """Wait until jobs are submitted, not until they run; Dask only logs a refusal, and waits forever."""
        while len(self.cluster.workers) < self._count:
            time.sleep(0.1)
        refused = [job for job in self.cluster.workers.values() if _was_refused(job)]
        if not refused:
            return
        for job in refused:
            job.status = _failed()
        command = refused[0].submit_command
        self.close()
        raise ExecutionError(
            str(self._path),
            f"{len(refused)} of {self._count} jobs could not be submitted by {command}",
            "check the resources of a job by submitting one by hand",
        )


def _was_refused(job: Any) -> bool:
    from distributed.core import Status

    return job.status == Status.created


def _failed() -> Any:
    from distributed.core import Status

    return Status.failed


def _start_cluster(path: Path, system: str, job_options: dict[str, Any], processes: int) -> Any:
    import dask
    import dask_jobqueue

    prologue = [*(f"export {name}={value}" for name, value in WORKER_ENVIRONMENT.items())]
    settings = {
        **dask.config.get(f"jobqueue.{system}"),
        **job_options,
        "job-script-prologue": [*prologue, *(job_options.get("job-script-prologue") or ())],
    }
    dask.config.set({f"jobqueue.{system}": settings})
    scheduler = {"dashboard": False, "dashboard_address": ":0", **(job_options.get("scheduler-options") or {})}
    try:
        # passed as an argument, since the cluster needs it to name the workers of a job
        return getattr(dask_jobqueue, f"{system.upper()}Cluster")(processes=processes, scheduler_options=scheduler)
    except (TypeError, ValueError) as error:
        raise UsageError(str(path), str(error), "see the documentation of dask-jobqueue") from error


WORKER_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",  # with an arena per thread, large arrays are allocated again and again
    "PYTHONSAFEPATH": "1",  # never import from the working directory of a job
}


def workers_per_job(path: Path, job_options: dict[str, Any]) -> int:
    """Return the number of workers per job: one for each core.

    Raises
    ------
    UsageError
        If workers would have several threads, or the number of cores is missing.
    """
    try:
        cores = int(job_options["cores"])
        processes = int(job_options.get("processes") or cores)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            str(path), "no number of cores", "give the number of cores of a job, such as cores: 1"
        ) from error
    if cores < 1 or processes != cores:
        raise UsageError(
            str(path),
            f"cores: {cores} for processes: {processes}; a worker processes one run at a time, in one thread",
            f"write processes: {max(cores, 1)}",
        )
    return processes


def check_dask(config: Path | None) -> None:
    """Check that Dask is installed, and that its configuration, if there is one, can be used.

    Raises
    ------
    UsageError
        If not.
    """
    missing = next((name for name in ("distributed", "dask_jobqueue") if find_spec(name) is None), None)
    if missing is not None:
        raise UsageError("--executor dask", f"{missing} is not installed", "pip install 'bids-alps[dask]'")
    if config is not None:
        workers_per_job(config, read_jobs(config)[1])


def read_jobs(path: Path) -> tuple[str, dict[str, Any]]:
    """Read the batch system and the resources of a job from a configuration of dask-jobqueue.

    Raises
    ------
    UsageError
        If the file is not YAML or TOML with ``jobqueue`` and one of `SYSTEMS` in it.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError("--dask-config", f"{path} cannot be read ({error})", "give a YAML or TOML file") from error
    jobs = content.get("jobqueue") if isinstance(content, dict) else None
    systems: dict[str, Any] = jobs if isinstance(jobs, dict) else {}
    named = [name for name in SYSTEMS if isinstance(systems.get(name), dict)]
    if len(named) != 1:
        names = ", ".join(named) or "none"
        raise UsageError(str(path), f"{names} of jobqueue.{', jobqueue.'.join(SYSTEMS)} given", "give exactly one")
    return named[0], systems[named[0]]
