"""Time limits and slow runs, with a clock set by the test."""

from __future__ import annotations

import logging

import pytest

from bids_alps.execution import watch as module
from bids_alps.execution.engine import Task
from bids_alps.execution.watch import Watch


class Clock:
    """Seconds, as the test says."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def task(name: str = "sub-01") -> Task:
    return Task(participant="01", name=name, work=lambda: None, megabytes=1)  # type: ignore[arg-type, return-value]


def test_a_run_is_abandoned_after_its_time_limit(clock: Clock) -> None:
    watch = Watch(2)
    watch.start(0, task(), "here")
    clock.now = 119
    assert watch.find_hopeless() is None
    clock.now = 121
    assert watch.find_hopeless() == 0
    assert "stopped after 2 minutes" in str(watch.explain(0))
    assert watch.stop(0) == "here"
    assert watch.find_hopeless() is None


def test_a_run_longer_than_the_lifetime_of_workers_is_abandoned(clock: Clock) -> None:
    watch = Watch(None)
    for number in range(3):
        watch.start(0, task(), f"worker {number}")
        assert watch.find_hopeless() is None
        clock.now += 60 * (number + 1)
    watch.start(0, task(), "worker 3")
    assert watch.find_hopeless() == 0
    assert "3 workers ended before the run was finished, after 3.0 minutes at most" in str(watch.explain(0))


def test_stragglers_are_named_again_when_their_time_has_doubled(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(None)
    for number in range(5):
        watch.start(number, task(), "here")
        clock.now += 60
        watch.stop(number)
    watch.start(9, task("sub-09"), "node7")
    with caplog.at_level(logging.WARNING):
        for seconds in (0, 299, 302, 400, 605):
            clock.now = 300 + seconds
            watch.name_stragglers()
    messages = [record.message for record in caplog.records]
    assert messages == [
        f"sub-09: running for {n} minutes on node7, where the median of 5 runs is 1.0." for n in (5, 10)
    ]
