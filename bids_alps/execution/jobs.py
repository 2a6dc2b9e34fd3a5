"""Dask workers in jobs of a batch system, by dask-jobqueue: as many as asked for, for as long as there is work."""

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
"""After that long without its workers a job has ended. A worker that loses its connection tries again meanwhile, and
Dask, which closes such a job but replaces it in part of the cases only, has done so by then."""
_FRUITLESS = 2
"""How many jobs in the place of each one may end before a worker came of them."""
CLOSING_SECONDS = 20


class Jobs:
    """Jobs that each start one or several workers.

    Neither ``Cluster.scale`` nor ``Cluster.adapt`` will do: the first replaces no job, the second none whose workers
    are several, none that could not be submitted, and none that ended before its worker came.

    Parameters
    ----------
    path
        Configuration of dask-jobqueue, see `read_jobs`.
    workers
        How many runs are to be worked on at the same time.

    Raises
    ------
    UsageError
        If the configuration cannot be used.
    ExecutionError
        If a job is refused.
    """

    def __init__(self, path: Path, workers: int) -> None:
        self._path = path
        self._system, asked = read_jobs(path)
        processes = workers_of_a_job(path, asked)
        self._count = math.ceil(workers / processes)
        self.cluster = _start_cluster(path, self._system, asked, processes)
        self._seen: set[str] = set()
        self._idle_since: dict[str, float] = {}
        self._fruitless = 0
        self.cluster.scale(jobs=self._count)
        self._wait_for_submission()

    def close(self, timeout: float = CLOSING_SECONDS) -> None:
        """End all jobs and the scheduler."""
        self.cluster.close(timeout=timeout)

    def replace_ended(self) -> None:
        """Submit a job for each one that ended, was lost, or was refused.

        Raises
        ------
        ExecutionError
            If job after job ends before a worker comes of it.
        """
        ended = self._find_ended()
        if not ended:
            return
        LOG.info("%d of %d jobs ended and are replaced.", len(ended), self._count)
        if self._fruitless > _FRUITLESS * self._count:
            raise ExecutionError(
                str(self._path), f"{self._fruitless} jobs ended before a worker came of them", "look into their logs"
            )
        self.cluster.sync(self._replace, ended)

    def _find_ended(self) -> set[str]:
        """Return names of jobs that had workers and have none, that the batch system has forgotten, or never took."""
        names, jobs, connected = self.cluster.sync(self._look)
        now = time.monotonic()
        at_work = {name for name in names if any(one == name or one.startswith(f"{name}-") for one in connected)}
        if at_work:
            self._fruitless = 0
        self._seen |= at_work
        self._idle_since = {name: self._idle_since.get(name, now) for name in names - at_work}
        idle = {name for name, since in self._idle_since.items() if now - since > _LOST_SECONDS}
        ended = {name for name in idle if name in self._seen or name not in jobs}
        refused = {name for name in idle - ended if _was_refused(jobs[name])}
        waiting = {name: str(jobs[name].job_id) for name in idle - ended - refused}
        queued = self._queued(list(waiting.values())) if waiting else set()
        gone = {name for name, job_id in waiting.items() if job_id not in queued}
        self._fruitless += len(refused | gone)
        return ended | refused | gone

    async def _look(self) -> tuple[set[str], dict[str, Any], set[str]]:
        """Return names of the jobs that are wanted, jobs by name, and names of connected workers, all at one moment."""
        connected = {str(worker.name) for worker in self.cluster.scheduler.workers.values()}
        return set(self.cluster.worker_spec), dict(self.cluster.workers), connected

    async def _replace(self, ended: set[str]) -> None:
        """Forget jobs that ended, and submit others under their names."""
        for job in (self.cluster.workers[name] for name in ended if name in self.cluster.workers):
            if _was_refused(job):
                job.status = _failed()  # or it could not be closed
        await self.cluster.scale_down(ended)
        self.cluster.scale(jobs=self._count)
        self._seen -= ended
        for name in ended:
            self._idle_since.pop(name, None)

    def _queued(self, job_ids: list[str]) -> set[str]:
        """Return which jobs the batch system still has; all of them where it cannot be asked."""
        if self._system != "slurm":
            return set(job_ids)
        command = ["squeue", "--noheader", "--format=%A", "--jobs", ",".join(job_ids)]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 -- no shell
        except (OSError, subprocess.TimeoutExpired):
            return set(job_ids)
        unknown = "Invalid job id" in ran.stderr
        return set(ran.stdout.split()) if unknown or not ran.returncode else set(job_ids)

    def _wait_for_submission(self) -> None:
        """Wait until jobs are submitted, not until they run; Dask only logs a refusal, and waits for ever."""
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
            "try what a job asks for by hand",
        )


def _was_refused(job: Any) -> bool:
    from distributed.core import Status

    return job.status == Status.created


def _failed() -> Any:
    from distributed.core import Status

    return Status.failed


def _start_cluster(path: Path, system: str, asked: dict[str, Any], processes: int) -> Any:
    import dask
    import dask_jobqueue

    prologue = [*(f"export {name}={value}" for name, value in WORKER_ENVIRONMENT.items())]
    settings = {
        **dask.config.get(f"jobqueue.{system}"),
        **asked,
        "job-script-prologue": [*prologue, *(asked.get("job-script-prologue") or ())],
    }
    dask.config.set({f"jobqueue.{system}": settings})
    scheduler = {"dashboard": False, "dashboard_address": ":0", **(asked.get("scheduler-options") or {})}
    try:
        # passed as an argument, or the cluster would not know how the workers of a job are called
        return getattr(dask_jobqueue, f"{system.upper()}Cluster")(processes=processes, scheduler_options=scheduler)
    except (TypeError, ValueError) as error:
        raise UsageError(str(path), str(error), "see the documentation of dask-jobqueue") from error


WORKER_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",  # a thread's own arena would fetch large arrays anew
    "PYTHONSAFEPATH": "1",  # what lies in the folder where a job starts is no code of ours
}


def workers_of_a_job(path: Path, asked: dict[str, Any]) -> int:
    """Return how many workers a job starts: one for each of its cores.

    Raises
    ------
    UsageError
        If workers would have several threads, or there are no cores.
    """
    try:
        cores = int(asked["cores"])
        processes = int(asked.get("processes") or cores)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(str(path), "no number of cores", "say how many cores a job has, such as cores: 1") from error
    if cores < 1 or processes != cores:
        raise UsageError(
            str(path),
            f"cores: {cores} for processes: {processes}; a worker does one run at a time, by one thread",
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
        workers_of_a_job(config, read_jobs(config)[1])


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
        there = ", ".join(named) or "none"
        raise UsageError(str(path), f"{there} of jobqueue.{', jobqueue.'.join(SYSTEMS)} is there", "keep just one")
    return named[0], asked[named[0]]
