"""A Dask cluster of this machine, with work that only pretends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bids_alps.arguments import parse, settings_of
from bids_alps.errors import ExecutionError, UsageError
from bids_alps.execution.dask import Cluster, read_jobs
from bids_alps.execution.engine import Task
from bids_alps.participant import Outcome
from bids_alps.settings import Settings

pytest.importorskip("distributed")
pytest.importorskip("dask_jobqueue")


def settings(tmp_path: Path, *arguments: str) -> Settings:
    common = ["--nprocs", "2", "--run-uuid", "x", "--work-dir", str(tmp_path)]
    return settings_of(parse([str(tmp_path), str(tmp_path / "out"), "participant", *common, *arguments]))


def task(work: Any) -> Task:
    return Task(participant="01", name="sub-01", work=work, megabytes=100)


def test_a_run_that_kills_workers_is_given_up_and_the_others_are_done(tmp_path: Path) -> None:
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


def test_no_scheduler_at_the_address_is_told(tmp_path: Path) -> None:
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "500ms"}),
        pytest.raises(ExecutionError, match="no scheduler at tcp"),
        Cluster(settings(tmp_path, "--dask-address", "tcp://127.0.0.1:9")),
    ):
        pass


def test_a_scheduler_that_goes_away_is_told(tmp_path: Path) -> None:
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
            with pytest.raises(ExecutionError, match="went away"):
                engine.wait()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jobs.yaml", "jobqueue:\n  slurm:\n    cores: 2\n    memory: 4GB\n"),
        ("jobs.toml", '[jobqueue.slurm]\ncores = 2\nmemory = "4GB"\n'),
    ],
)
def test_what_a_job_asks_for_is_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_jobs(tmp_path / name) == ("slurm", {"cores": 2, "memory": "4GB"})


@pytest.mark.parametrize("text", ["", "jobqueue: 3", "jobqueue: {pbs: {}, sge: {}}", "a: [", "jobqueue: {condor: {}}"])
def test_a_file_that_names_no_system_or_two_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "jobs.yaml").write_text(text)
    with pytest.raises(UsageError):
        read_jobs(tmp_path / "jobs.yaml")


def test_the_shipped_configuration_is_one_of_dask_jobqueue() -> None:
    system, asked = read_jobs(Path(__file__).parents[2] / "docs/slurm/jobqueue.yaml")
    import dask
    import dask_jobqueue  # noqa: F401 -- it adds its defaults

    assert set(asked) <= set(dask.config.get(f"jobqueue.{system}"))
