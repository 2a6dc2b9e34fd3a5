"""Local processes: killed workers, memory limits, cleanup."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bids_alps.arguments import parse, settings_of
from bids_alps.errors import AlpsError, ExecutionError
from bids_alps.execution.engine import Engine, Task
from bids_alps.execution.local import Processes
from bids_alps.participant import Outcome
from bids_alps.progress import log_stage
from bids_alps.settings import Settings


def settings(tmp_path: Path, *arguments: str) -> Settings:
    return settings_of(parse([str(tmp_path), str(tmp_path / "out"), "participant", "--nprocs", "2", *arguments]))


def task(work: Any, megabytes: int = 100) -> Task:
    return Task(participant="01", name="sub-01", work=work, megabytes=megabytes)


def good(name: str) -> Task:
    return task(partial(Outcome, name=name, message="done"))


def finish(engine: Engine, pieces: list[Task]) -> dict[int, Outcome | AlpsError]:
    """Return the outcome of every task by its position in the list."""
    ended: dict[int, Outcome | AlpsError] = {}
    waiting, under_way = list(enumerate(pieces)), 0
    while waiting or under_way:
        while waiting and engine.has_room(waiting[0][1]):
            engine.submit(*waiting.pop(0))
            under_way += 1
        number, outcome = engine.wait()
        ended[number] = outcome
        under_way -= 1
    return ended


@pytest.mark.slow
def test_a_killed_process_fails_only_its_own_task(tmp_path: Path) -> None:
    pieces = [good("a"), task(partial(os._exit, 9), 700), good("b"), good("c")]
    with Processes(settings(tmp_path)) as engine:
        ended = finish(engine, pieces)
    lost = ended.pop(1)
    assert isinstance(lost, ExecutionError)
    assert "700 MB" in str(lost)
    assert [outcome.name for _, outcome in sorted(ended.items()) if isinstance(outcome, Outcome)] == ["a", "b", "c"]


@pytest.mark.slow
def test_a_run_beyond_its_time_limit_is_killed_and_the_others_finish(tmp_path: Path) -> None:
    begun = time.monotonic()
    with Processes(settings(tmp_path, "--timeout", "0.1")) as engine:
        ended = finish(engine, [task(partial(time.sleep, 600)), task(partial(time.sleep, 600)), good("a"), good("b")])
        assert time.monotonic() - begun < 120
    assert [str(ended[number]).partition(". ")[0] for number in (0, 1)] == ["--timeout: stopped after 0.1 minutes"] * 2
    assert [outcome.name for number in (2, 3) if isinstance(outcome := ended[number], Outcome)] == ["a", "b"]


@pytest.mark.slow
def test_a_process_that_hangs_at_start_is_killed(tmp_path: Path) -> None:
    with Processes(settings(tmp_path, "--timeout", "0.02")) as engine:
        others = multiprocessing.active_children()  # of tests before
        engine.submit(0, good("a"))
        (process,) = (one for one in multiprocessing.active_children() if one not in others)
        os.kill(process.pid or 0, signal.SIGSTOP)
        number, error = engine.wait()
        process.join(timeout=30)
        assert (number, process.exitcode) == (0, -signal.SIGKILL)
    assert "--timeout: stopped after" in str(error)


def test_parallel_tasks_stay_within_the_memory(tmp_path: Path) -> None:
    with Processes(settings(tmp_path, "--mem", "1000")) as engine:
        assert engine.has_room(task(None, 5000))  # the only one, however large, is let through
        engine.submit(0, task(partial(Outcome, name="a", message=""), 600))
        assert engine.has_room(task(None, 400))
        assert not engine.has_room(task(None, 401))
        engine.wait()
        assert engine.has_room(task(None, 401))


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_closing_the_engine_ends_running_tasks(tmp_path: Path, seconds: float) -> None:
    with Processes(settings(tmp_path)) as engine:
        for number in range(2):
            engine.submit(number, task(partial(time.sleep, 600)))
        time.sleep(seconds)  # processes that are still being started, and ones at work
    deadline = time.monotonic() + 30
    while left := multiprocessing.active_children():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def speak(name: str) -> Outcome:
    log_stage(name, "aligned")
    return Outcome(name=name, message="done")


def test_stages_of_other_processes_are_logged_here(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="bids_alps"), Processes(settings(tmp_path)) as engine:
        finish(engine, [task(partial(speak, f"sub-{n}")) for n in range(3)])
        deadline = time.monotonic() + 20
        while len(caplog.messages) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert sorted(caplog.messages) == [f"sub-{n}: aligned" for n in range(3)]
