"""A Dask cluster of this machine, with work that only pretends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from bids_alps.arguments import parse, settings_of
from bids_alps.errors import ExecutionError, UsageError
from bids_alps.execution import dask as engine_module
from bids_alps.execution.dask import Cluster, check_threads
from bids_alps.execution.engine import Task
from bids_alps.execution.jobs import read_jobs, workers_per_job
from bids_alps.identity import code_name
from bids_alps.participant import Outcome
from bids_alps.settings import Settings

pytestmark = pytest.mark.medium

pytest.importorskip("distributed")
pytest.importorskip("dask_jobqueue")

ANY_PORT = {"dashboard_address": "127.0.0.1:0"}


def settings(tmp_path: Path, *arguments: str) -> Settings:
    for folder in (tmp_path, tmp_path / "out"):
        folder.mkdir(exist_ok=True)
        (folder / "dataset_description.json").write_text("{}")
    common = ["--nprocs", "2", "--run-uuid", "x", "--work-dir", str(tmp_path)]
    return settings_of(parse([str(tmp_path), str(tmp_path / "out"), "participant", *common, *arguments]))


def task(work: Any) -> Task:
    return Task(participant="01", name="sub-01", work=work, megabytes=100)


@pytest.mark.slow
def test_a_run_that_kills_workers_is_abandoned_and_the_others_finish(tmp_path: Path) -> None:
    with Cluster(settings(tmp_path)) as engine:
        for number in range(5):
            good = partial(Outcome, name=str(number), message="done")
            engine.submit(number, task(partial(os._exit, 9) if number == 2 else good))
        ended = dict(engine.wait() for _ in range(5))
    lost = ended.pop(2)
    assert isinstance(lost, ExecutionError)
    assert "workers died" in str(lost)
    assert {number: outcome.name for number, outcome in ended.items() if isinstance(outcome, Outcome)} == {
        number: str(number) for number in (0, 1, 3, 4)
    }


@pytest.mark.slow
def test_a_run_beyond_its_time_limit_is_abandoned_and_the_others_finish(tmp_path: Path) -> None:
    with Cluster(settings(tmp_path, "--timeout", "0.05")) as engine:
        for number in range(4):
            good = partial(Outcome, name=str(number), message="done")
            engine.submit(number, task(partial(time.sleep, 600) if number < 2 else good))
        begun = time.monotonic()
        ended = dict(engine.wait() for _ in range(4))  # both workers were taken by runs that hang
        assert time.monotonic() - begun < 120
    assert [str(ended[number]).partition(". ")[0] for number in (0, 1)] == ["--timeout: stopped after 0.05 minutes"] * 2
    assert [outcome.name for number in (2, 3) if isinstance(outcome := ended[number], Outcome)] == ["2", "3"]


def test_nothing_listens_outside_this_machine(tmp_path: Path) -> None:
    with Cluster(settings(tmp_path)) as engine:
        engine.submit(0, task(partial(Outcome, name="a", message="done")))
        engine.wait()
        me = psutil.Process()
        listening = {
            connection.laddr.ip
            for process in (me, *me.children(recursive=True))
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
    assert listening == {"127.0.0.1"}


def test_workers_start_on_a_safe_path(tmp_path: Path) -> None:
    with Cluster(settings(tmp_path)) as engine:
        engine.submit(0, task(partial(eval, "__import__('sys').flags.safe_path")))
        _, safe = engine.wait()
    assert safe


@pytest.mark.slow
def test_a_worker_without_access_to_the_dataset_is_reported(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    with Cluster(chosen) as engine:
        (tmp_path / "out/dataset_description.json").unlink()
        engine.submit(0, task(partial(Outcome, name="a", message="done")))
        _, error = engine.wait()
    assert isinstance(error, ExecutionError)
    assert re.fullmatch(rf"worker tcp://\S+: it does not see {tmp_path}/out\. .*", str(error))


@pytest.mark.slow
def test_a_worker_of_another_version_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "code_name", lambda: "99")
    with Cluster(settings(tmp_path)) as engine:
        engine.submit(0, task(partial(Outcome, name="a", message="done")))
        _, error = engine.wait()
    assert f"bids-alps {code_name()} on the worker, 99 here" in str(error)


def test_multithreaded_workers_are_refused(tmp_path: Path) -> None:
    from distributed import LocalCluster

    check_threads({"tcp://a:1": 1})
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=3, processes=False, dashboard_address=None, scheduler_kwargs=ANY_PORT
        ) as cluster,
        pytest.raises(
            ExecutionError, match=r"1 of 1 workers have several threads, .* with 3.*--nthreads 1 --nworkers 3"
        ),
        Cluster(settings(tmp_path, "--dask-address", cluster.scheduler_address)),
    ):
        pass


@pytest.mark.slow
def test_it_stops_if_no_worker_starts(tmp_path: Path) -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=0, processes=False, protocol="tcp", dashboard_address=None, scheduler_kwargs=ANY_PORT
        ) as cluster,
        Cluster(settings(tmp_path, "--dask-address", cluster.scheduler_address, "--worker-timeout", "0.01")) as engine,
    ):
        engine.submit(0, task(partial(Outcome, name="a", message="no worker does it")))
        with pytest.raises(ExecutionError, match=r"no worker for [\d.]+ minutes"):
            engine.wait()


def test_runs_on_an_existing_cluster_stay_within_the_memory(tmp_path: Path) -> None:
    engine = Cluster(settings(tmp_path, "--dask-address", "tcp://127.0.0.1:9", "--mem", "250"))
    assert engine.has_room(task(None))
    engine._tasks[0] = task(None), None
    assert engine.has_room(task(None))
    engine._tasks[1] = task(None), None
    assert not engine.has_room(task(None))


def test_a_missing_scheduler_is_reported(tmp_path: Path) -> None:
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "500ms"}),
        pytest.raises(ExecutionError, match="no scheduler at tcp"),
        Cluster(settings(tmp_path, "--dask-address", "tcp://127.0.0.1:9")),
    ):
        pass


def test_a_lost_scheduler_is_reported(tmp_path: Path) -> None:
    import dask

    file = tmp_path / "scheduler.json"
    command = ["-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    with (
        subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL) as scheduler,
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
    ):
        while not file.exists():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        with Cluster(settings(tmp_path, "--dask-address", address)) as engine:
            engine.submit(0, task(partial(Outcome, name="a", message="no worker does it")))
            scheduler.kill()
            with pytest.raises(ExecutionError, match="was lost"):
                engine.wait()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jobs.yaml", "jobqueue:\n  slurm:\n    cores: 2\n    memory: 4GB\n"),
        ("jobs.toml", '[jobqueue.slurm]\ncores = 2\nmemory = "4GB"\n'),
    ],
)
def test_the_resources_of_a_job_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_jobs(tmp_path / name) == ("slurm", {"cores": 2, "memory": "4GB"})


@pytest.mark.parametrize("text", ["", "jobqueue: 3", "jobqueue: {pbs: {}, sge: {}}", "a: [", "jobqueue: {condor: {}}"])
def test_a_configuration_without_or_with_two_systems_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "jobs.yaml").write_text(text)
    with pytest.raises(UsageError):
        read_jobs(tmp_path / "jobs.yaml")


@pytest.mark.parametrize(
    ("asked", "workers"), [({"cores": 1}, 1), ({"cores": 4}, 4), ({"cores": 2, "processes": 2}, 2)]
)
def test_a_job_has_one_worker_per_core(asked: dict[str, Any], workers: int) -> None:
    assert workers_per_job(Path("jobs.yaml"), asked) == workers


@pytest.mark.parametrize("asked", [{}, {"cores": "x"}, {"cores": 0}, {"cores": 4, "processes": 1}])
def test_a_job_with_multithreaded_workers_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cores"):
        workers_per_job(Path("jobs.yaml"), asked)


def test_the_shipped_configuration_is_one_of_dask_jobqueue() -> None:
    system, asked = read_jobs(Path(__file__).parents[2] / "docs/slurm/jobqueue.yaml")
    import dask
    import dask_jobqueue  # noqa: F401 -- it adds its defaults

    assert set(asked) <= set(dask.config.get(f"jobqueue.{system}"))
