"""Parts of execution without a cluster: room, waiting for workers, estimates of memory, allocation, time limits."""

# mypy: disable-error-code="arg-type, attr-defined, assignment, comparison-overlap, unused-ignore"
# minimal stand-ins for the objects of the package

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import nifti_bytes

from bids_alps.errors import ExecutionError
from bids_alps.execution import dask as module
from bids_alps.execution import machine, watch
from bids_alps.execution.dask import Cluster
from bids_alps.execution.engine import Task
from bids_alps.execution.memory import BASE_MEGABYTES, estimate_megabytes
from bids_alps.execution.watch import Watch
from bids_alps.identity import code_name
from bids_alps.model import DwiRun, SpatialMap
from bids_alps.participant import Outcome


def task(megabytes: int = 100, *, page: bool = False) -> Task:
    work = partial(Outcome, name="a", message="done")
    return Task(participant="01", name="sub-01", work=work, megabytes=megabytes, page=page)


def cluster_with(number: int, *, mem: int | None = None, megabytes: int = 100) -> Cluster:
    made = object.__new__(Cluster)
    settings: Any = SimpleNamespace(execution=SimpleNamespace(mem=mem, run_uuid="x"))
    made._settings = settings
    made._tasks = {n: (task(megabytes), SimpleNamespace(done=lambda: False)) for n in range(number)}
    made._watch = Watch(None)
    return made


@pytest.mark.parametrize(("number", "room"), [(0, True), (499, True), (500, False)])
def test_the_scheduler_has_room_for_five_hundred(number: int, room: bool) -> None:
    assert cluster_with(number).has_room(task()) is room


@pytest.mark.parametrize(("megabytes", "room"), [(700, True), (701, False)])
def test_tasks_fit_into_the_memory_to_the_last_megabyte(megabytes: int, room: bool) -> None:
    assert cluster_with(3, mem=1000).has_room(task(megabytes)) is room


def test_the_first_task_runs_whatever_it_needs() -> None:
    assert cluster_with(0, mem=10).has_room(task(5000))


def test_a_task_that_is_done_is_not_given_up() -> None:
    made = cluster_with(1)
    for _ in range(watch._TRIES + 1):
        made._note_start((0.0, (0, "tcp://there")))
    assert made._find_hopeless() == 0
    made._tasks[0][1].done = lambda: True
    assert made._find_hopeless() is None
    made._tasks.clear()
    assert made._find_hopeless() is None
    assert made._watch.find_hopeless() is None  # forgotten


def test_a_start_of_a_task_that_has_ended_is_not_noted() -> None:
    made = cluster_with(0)
    for _ in range(9):
        made._note_start((0.0, (5, "tcp://there")))
    assert made._watch.find_hopeless() is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr("bids_alps.execution.dask.time.monotonic", lambda: now.seconds)
    return now


def presence(**execution: Any) -> Any:
    chosen: Any = SimpleNamespace(**{"dask_config": None, "worker_timeout": None, **execution})
    return module._Presence(chosen)


@pytest.mark.parametrize(
    ("execution", "minutes"),
    [({}, 10), ({"dask_config": Path("a")}, 24 * 60), ({"worker_timeout": 3.0, "dask_config": Path("a")}, 3)],
)
def test_without_workers_it_ends_after_the_limit(clock: SimpleNamespace, execution: Any, minutes: int) -> None:
    seen = presence(**execution)
    clock.seconds += 500
    seen.note({"tcp://a": 1})
    clock.seconds += 60 * minutes
    seen.note({})
    clock.seconds += 30
    with pytest.raises(ExecutionError, match=f"no worker for {minutes}.5 minutes"):
        seen.note({})


def test_a_reminder_comes_each_ten_minutes(clock: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    seen = presence(worker_timeout=1000.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(31):
            clock.seconds += 60
            seen.note({})
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"No worker for {minutes} minutes; runs are waiting." for minutes in (11, 22)]


def test_checks_are_due_at_each_tick(clock: SimpleNamespace) -> None:
    seen = presence()
    assert not seen.is_due()
    clock.seconds += watch.TICK_SECONDS
    assert seen.is_due()
    assert not seen.is_due()


def test_memory_is_that_of_three_copies_in_single_precision(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(nifti_bytes(SpatialMap(data=np.zeros((50, 40, 30, 20)), affine=np.eye(4))))
    run = DwiRun(entities={"sub": "01"}, image=path, bval=path, bvec=path)
    assert estimate_megabytes(run) == BASE_MEGABYTES + round(3 * 50 * 40 * 30 * 20 * np.float32().nbytes / 1e6)
    path.unlink()
    assert estimate_megabytes(run) == BASE_MEGABYTES


def test_freed_memory_is_kept_by_the_settings_of_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    """M_TRIM_THRESHOLD is -1 and M_MMAP_THRESHOLD is -3 in malloc.h; half a gigabyte and half of that."""
    calls: list[tuple[int, ...]] = []
    library = SimpleNamespace(mallopt=lambda *call: calls.append(call))
    monkeypatch.setattr("bids_alps.execution.machine.ctypes.CDLL", lambda _: library)
    machine._keep_freed_memory()
    assert sorted(calls) == [(-3, 2**28), (-1, 2**29)]


def test_the_scratch_folder_is_in_the_output_where_the_system_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("bids_alps.execution.machine.tempfile.gettempdir", none)
    settings: Any = SimpleNamespace(
        execution=SimpleNamespace(work_dir=None), request=SimpleNamespace(output_dir=tmp_path / "out")
    )
    assert machine._scratch(settings) == tmp_path / "out" / "work"
    assert (tmp_path / "out" / "work").is_dir()


def test_a_slow_run_is_named_and_again_when_its_time_has_doubled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Five runs of 100 s: a sixth is slow after four times that, reported then and after 802 s."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr("bids_alps.execution.watch.time.monotonic", lambda: now.seconds)
    seen = Watch(None)
    for n in range(5):
        seen.start(n, task(), "there")
    now.seconds = 100.0
    for n in range(5):
        seen.stop(n)
    seen.start(9, task(), "there")
    counts = []
    for second in (150, 399, 401, 600, 801, 804):
        now.seconds = 100.0 + second
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            seen.name_stragglers()
        counts.append(len(caplog.records))
    assert counts == [0, 0, 1, 0, 0, 1]


def test_a_run_that_three_workers_did_not_finish_is_given_up() -> None:
    seen = Watch(None)
    for start in range(4):
        assert seen.find_hopeless() is None
        seen.start(1, task(), f"worker {start}")
    assert seen.find_hopeless() == 1
    assert "3 workers ended" in str(seen.explain(1))
    assert seen.stop(1) == "worker 3"
    assert seen.stop(1) == ""


def test_a_worker_has_the_version_and_the_folders_of_the_study(tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dataset_description.json").write_text("{}")
    settings: Any = SimpleNamespace(request=SimpleNamespace(bids_dir=tmp_path / "in", output_dir=tmp_path / "out"))
    module._check_worker(settings, code_name(), "tcp://a")
    with pytest.raises(ExecutionError, match="on the worker, another here"):
        module._check_worker(settings, "another", "tcp://a")
    (tmp_path / "out" / "dataset_description.json").unlink()
    with pytest.raises(ExecutionError, match=r"worker tcp://a: it does not see .*out"):
        module._check_worker(settings, code_name(), "tcp://a")
