"""Jobs of a batch system that end, wait or are refused, by a cluster that only pretends and a clock that is set."""

# mypy: disable-error-code="arg-type, attr-defined, assignment, comparison-overlap, unused-ignore"
# minimal stand-ins for the objects of the package

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bids_alps.errors import ExecutionError, UsageError
from bids_alps.execution import jobs as module
from bids_alps.execution.jobs import Jobs, check_dask

pytest.importorskip("distributed")
pytest.importorskip("dask_jobqueue")

from distributed.core import Status


class Pretended:
    """A cluster: its jobs by name, with ids and status, and the names of the workers that are connected."""

    def __init__(self, **jobs: Status) -> None:
        self.workers = {
            name: SimpleNamespace(job_id=f"7{n}", status=status, submit_command="sbatch")
            for n, (name, status) in enumerate(jobs.items())
        }
        self.connected: set[str] = set()
        self.replaced: list[set[str]] = []
        self.closed = False

    def sync(self, function: Any, *arguments: Any) -> Any:
        if function.__name__ == "_replace":
            self.replaced.append(*arguments)
            return None
        return set(self.workers), dict(self.workers), self.connected

    def close(self, timeout: float) -> None:
        self.closed = True


def jobs_of(cluster: Pretended, system: str = "slurm", count: int | None = None) -> Jobs:
    made = object.__new__(Jobs)
    made._path, made._system, made.cluster = Path("jobs.yaml"), system, cluster
    made._count = len(cluster.workers) if count is None else count
    made._connected_before, made._idle_since, made._fruitless = set(), {}, 0
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr("bids_alps.execution.jobs.time.monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A batch system that has the jobs which a file lists; with a file `broken` it fails."""
    program = tmp_path / "squeue"
    program.write_text(
        f'#!/bin/sh\nset -- {tmp_path}\n[ -e "$1/unknown" ] && echo "slurm: Invalid job id" >&2 && exit 1\n'
        '[ -e "$1/broken" ] && exit 1\ncat "$1/queued"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "queued").write_text("")
    return tmp_path


def test_a_job_that_waits_in_the_queue_is_left_alone(clock: SimpleNamespace, squeue: Path) -> None:
    (squeue / "queued").write_text("70\n71\n")
    made = jobs_of(Pretended(a=Status.running, b=Status.running))
    assert made._find_ended() == set()
    clock.seconds += 3600
    assert made._find_ended() == set()
    assert made._fruitless == 0


def test_a_job_that_left_the_queue_without_a_worker_is_gone_after_a_while(clock: SimpleNamespace, squeue: Path) -> None:
    (squeue / "queued").write_text("71\n")
    made = jobs_of(Pretended(a=Status.running, b=Status.running))
    assert made._find_ended() == set()
    clock.seconds += module._LOST_SECONDS - 1
    assert made._find_ended() == set()
    clock.seconds += 2
    assert made._find_ended() == {"a"}
    assert made._fruitless == 1


def test_a_job_whose_workers_went_away_has_ended_though_it_is_queued(clock: SimpleNamespace, squeue: Path) -> None:
    (squeue / "queued").write_text("70\n71\n")
    cluster = Pretended(a=Status.running, b=Status.running)
    cluster.connected = {"a", "b-0", "b-1"}
    made = jobs_of(cluster)
    made._fruitless = 2
    assert made._find_ended() == set()
    assert made._fruitless == 0  # a worker came
    assert made._connected_before == {"a", "b"}
    cluster.connected = {"a"}
    made._find_ended()
    clock.seconds += module._LOST_SECONDS + 1
    assert made._find_ended() == {"b"}
    assert made._fruitless == 0


def test_a_worker_that_comes_back_in_time_is_kept(clock: SimpleNamespace, squeue: Path) -> None:
    cluster = Pretended(a=Status.running)
    cluster.connected = {"a"}
    made = jobs_of(cluster)
    for connected in (set(), {"a"}, set()):
        cluster.connected = connected
        assert made._find_ended() == set()
        clock.seconds += module._LOST_SECONDS - 1


def test_a_job_that_was_refused_is_replaced_and_counted(clock: SimpleNamespace, squeue: Path) -> None:
    made = jobs_of(Pretended(a=Status.created, b=Status.running))
    (squeue / "queued").write_text("71\n")
    made._find_ended()
    clock.seconds += module._LOST_SECONDS + 1
    assert made._find_ended() == {"a"}
    assert made._fruitless == 1


def test_jobs_that_end_again_and_again_before_a_worker_comes_end_the_run(clock: SimpleNamespace, squeue: Path) -> None:
    cluster = Pretended(a=Status.running)
    made = jobs_of(cluster)
    made.replace_ended()
    for _ in range(module._FRUITLESS):
        clock.seconds += module._LOST_SECONDS + 1
        made.replace_ended()
    assert cluster.replaced == [{"a"}] * module._FRUITLESS
    with pytest.raises(ExecutionError, match=f"{module._FRUITLESS + 1} jobs ended before a worker connected"):
        made.replace_ended()


def test_nothing_is_replaced_where_nothing_ended(clock: SimpleNamespace, squeue: Path) -> None:
    cluster = Pretended(a=Status.running)
    made = jobs_of(cluster)
    made._fruitless = 99
    made.replace_ended()
    assert cluster.replaced == []


def test_the_queue_is_what_the_batch_system_lists(squeue: Path) -> None:
    made = jobs_of(Pretended())
    (squeue / "queued").write_text("71\n72\n")
    assert made._queued(["70", "71", "72"]) == {"71", "72"}
    (squeue / "broken").touch()
    assert made._queued(["70", "71"]) == {"70", "71"}
    (squeue / "unknown").touch()  # it knows none of them any more
    assert made._queued(["70", "71"]) == set()
    assert jobs_of(Pretended(), system="pbs")._queued(["70"]) == {"70"}


def test_without_a_batch_system_to_ask_jobs_count_as_queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert jobs_of(Pretended())._queued(["70"]) == {"70"}


def test_a_refusal_at_the_start_is_told_with_its_command() -> None:
    cluster = Pretended(a=Status.running, b=Status.created, c=Status.created)
    with pytest.raises(ExecutionError, match="2 of 3 jobs could not be submitted by sbatch"):
        jobs_of(cluster)._wait_for_submission()
    assert cluster.closed
    assert [job.status for job in cluster.workers.values()] == [Status.running, Status.failed, Status.failed]


def test_jobs_that_are_submitted_are_not_waited_for_any_longer() -> None:
    cluster = Pretended(a=Status.running, b=Status.running)
    jobs_of(cluster)._wait_for_submission()
    assert not cluster.closed


def test_jobs_are_as_many_as_the_workers_need_and_may_end_early_three_times_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace, squeue: Path
) -> None:
    """Five workers, two in each job, are three jobs; nothing is counted against them at the start."""
    path = tmp_path / "jobs.toml"
    path.write_text('[jobqueue.slurm]\ncores = 2\nprocesses = 2\nmemory = "4GB"\n')
    cluster = Pretended(a=Status.running, b=Status.running, c=Status.running)
    asked: list[int] = []
    cluster.scale = lambda jobs: asked.append(jobs)  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "_start_cluster", lambda *given: cluster)
    made = Jobs(path, 5)
    assert asked == [3]
    (squeue / "queued").write_text("")
    for _ in range(module._FRUITLESS):
        made.replace_ended()
        clock.seconds += module._LOST_SECONDS + 1
        made.replace_ended()
        made._idle_since.clear()
    assert cluster.replaced == [{"a", "b", "c"}] * module._FRUITLESS
    clock.seconds += module._LOST_SECONDS + 1
    made.replace_ended()
    clock.seconds += module._LOST_SECONDS + 1
    with pytest.raises(ExecutionError, match=f"{3 * (module._FRUITLESS + 1)} jobs ended before a worker connected"):
        made.replace_ended()


def test_a_missing_library_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "dask_jobqueue" else object())
    with pytest.raises(UsageError, match="dask_jobqueue is not installed"):
        check_dask(None)
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    check_dask(None)
