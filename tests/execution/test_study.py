"""The story of a study, with runs that only pretend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bids_alps.arguments import parse, settings_of
from bids_alps.errors import ExecutionError
from bids_alps.execution import study
from bids_alps.execution.engine import InProcess, Task
from bids_alps.execution.memory import BASE_MEGABYTES, MAPS_MEGABYTES, estimate_megabytes
from bids_alps.model import DwiRun
from bids_alps.participant import Outcome
from bids_alps.settings import Settings


def settings(tmp_path: Path, *arguments: str) -> Settings:
    return settings_of(parse([str(tmp_path / "in"), str(tmp_path / "out"), "participant", *arguments]))


def a_run(participant: str, number: int) -> DwiRun:
    nowhere = Path("nowhere")
    return DwiRun(entities={"sub": participant, "run": str(number)}, image=nowhere, bval=nowhere, bvec=nowhere)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Processed runs and reports in order; run 2 of participant 02 fails, 03 has no run, 04 an unusable run."""
    done: list[str] = []
    unusable = Outcome(name="sub-04_run-1", message="no bvec", exit_code=66)
    planned: dict[str, list[Any]] = {"03": [], "04": [unusable]}

    def plan(label: str, _: Settings) -> list[DwiRun | Outcome]:
        return planned.get(label, [a_run(label, 1), a_run(label, 2)])

    def process(run: DwiRun, _: Settings) -> Outcome:
        done.append(run.name)
        return Outcome(name=run.name, message="done", exit_code=65 * (run.name == "sub-02_run-2"))

    def page(label: str, _: Settings) -> Outcome:
        done.append(f"page {label}")
        return Outcome(name=f"sub-{label}_page", message="written")

    monkeypatch.setattr(study, "plan_work", plan)
    monkeypatch.setattr(study, "process_run", process)
    monkeypatch.setattr(study, "write_page", page)
    return done


def test_the_report_follows_the_last_run_of_a_participant(tmp_path: Path, calls: list[str]) -> None:
    ended = dict(study.process_participants(["01", "02", "03", "04"], settings(tmp_path)))
    assert calls == ["sub-01_run-1", "sub-01_run-2", "page 01", "sub-02_run-1", "sub-02_run-2", "page 02", "page 04"]
    codes = {label: [outcome.exit_code for outcome in outcomes] for label, outcomes in ended.items()}
    assert codes == {"01": [0, 0], "02": [0, 65], "03": [0], "04": [66]}
    assert not ended["03"][0].selected


def test_processing_starts_before_all_participants_are_planned(tmp_path: Path, calls: list[str]) -> None:
    ended = study.process_participants(["01", *(f"{n}" for n in range(10, 1000))], settings(tmp_path))
    assert next(ended)[0] == "01"
    ended.close()
    assert calls == ["sub-01_run-1", "sub-01_run-2", "page 01"]


def test_stop_on_first_crash_starts_no_further_runs(tmp_path: Path, calls: list[str]) -> None:
    ended = list(study.process_participants(["02", "01"], settings(tmp_path, "--stop-on-first-crash")))
    assert [label for label, _ in ended] == ["02"]
    assert calls == ["sub-02_run-1", "sub-02_run-2", "page 02"]


def test_a_participant_with_dropped_runs_still_has_a_report(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pool(InProcess):
        """Two places; run 2 of participant 02 takes longer than all others, and run 2 of 01 finds no memory."""

        def __init__(self) -> None:
            super().__init__()
            self.under_way: dict[int, Task] = {}

        def has_room(self, task: Task) -> bool:
            return len(self.under_way) < 2 and (task.name != "sub-01_run-2" or not self.under_way)

        def submit(self, task_id: int, task: Task) -> None:
            self.under_way[task_id] = task

        def wait(self) -> Any:
            task_id = min(self.under_way, key=lambda one: self.under_way[one].name == "sub-02_run-2")
            return task_id, self.under_way.pop(task_id).work()

    monkeypatch.setattr(study, "make_engine", lambda _: Pool())
    ended = dict(study.process_participants(["02", "01"], settings(tmp_path, "--stop-on-first-crash")))
    assert calls == ["sub-02_run-1", "sub-01_run-1", "sub-02_run-2", "page 02", "page 01"]
    assert [outcome.name for outcome in ended["01"]] == ["sub-01_run-1"]


def test_sessions_are_compared_after_all_runs_and_before_the_report(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(label: str, _: Settings) -> list[DwiRun]:
        names = [{"sub": label, "ses": str(n), "run": "1"} for n in range(1, 3 if label == "01" else 2)]
        return [DwiRun(entities=one, image=Path("i"), bval=Path("b"), bvec=Path("c")) for one in names]

    def compare(runs: tuple[DwiRun, ...], _: Settings) -> Outcome:
        calls.append(f"compare {' '.join(run.name for run in runs)}")
        return Outcome(name="sub-01_run-1_longitudinal", message="no change")

    monkeypatch.setattr(study, "plan_work", plan)
    monkeypatch.setattr(study, "process_longitudinal", compare)
    ended = dict(study.process_participants(["01", "02"], settings(tmp_path, "--longitudinal")))
    compared = "compare sub-01_ses-1_run-1 sub-01_ses-2_run-1"
    assert calls[:4] == ["sub-01_ses-1_run-1", "sub-01_ses-2_run-1", compared, "page 01"]
    assert calls[4:] == ["sub-02_ses-1_run-1", "page 02"]
    assert [outcome.name for outcome in ended["01"]][-1] == "sub-01_run-1_longitudinal"
    calls.clear()
    list(study.process_participants(["01"], settings(tmp_path)))
    assert calls == ["sub-01_ses-1_run-1", "sub-01_ses-2_run-1", "page 01"]


def test_reports_only_rewrites_reports(tmp_path: Path, calls: list[str]) -> None:
    ended = dict(study.process_participants(["01", "02"], settings(tmp_path, "--reports-only")))
    assert calls == ["page 01", "page 02"]
    assert [outcome.message for outcome in ended["01"]] == ["written"]


def test_a_lost_run_is_reported_and_the_others_continue(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(InProcess):
        def submit(self, task_id: int, task: Task) -> None:
            self.lost = task.name == "sub-01_run-1"
            super().submit(task_id, task)

        def wait(self) -> Any:
            task_id, outcome = super().wait()
            return task_id, ExecutionError("process", "it was killed", "start again") if self.lost else outcome

    monkeypatch.setattr(study, "make_engine", lambda _: Forgetful())
    ended = dict(study.process_participants(["01"], settings(tmp_path, "--run-uuid", "x")))
    assert [(outcome.name, outcome.exit_code) for outcome in ended["01"]] == [("sub-01_run-1", 1), ("sub-01_run-2", 0)]
    assert "it was killed" in (tmp_path / "out/logs/sub-01/x/crash-sub-01_run-1.txt").read_text()


def test_a_run_with_an_unreadable_image_requests_the_base_memory() -> None:
    assert estimate_megabytes(a_run("01", 1)) == BASE_MEGABYTES


def test_the_comparison_of_sessions_asks_for_the_largest_run_and_the_maps_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"1": 2000, "2": 3500, "3": 1500}
    monkeypatch.setattr(study, "estimate_megabytes", lambda run: sizes[run.entities["run"]])
    ledger = study._Ledger([], settings(tmp_path))
    ledger._repeats["01"] = [tuple(a_run("01", number) for number in (1, 2, 3))]
    ledger._finish_runs("01")
    (task,) = ledger._waiting
    assert task.megabytes == 3500 + 3 * MAPS_MEGABYTES
    assert ledger._runs_left == {"01": 1}
