"""Replacement of raw series by preprocessed ones."""

from __future__ import annotations

from pathlib import Path

from bids_alps.errors import NoInputError
from bids_alps.io.layout import ExcludedRun, PlannedRun, UnusableRun
from bids_alps.io.preprocessed import replace_preprocessed
from bids_alps.model import DwiRun

NOWHERE = Path("nowhere")


def run(name: str, *, preprocessed: bool = False) -> DwiRun:
    entities = dict(part.split("-") for part in name.split("_"))
    return DwiRun(entities=entities, image=NOWHERE, bval=NOWHERE, bvec=NOWHERE, preprocessed=preprocessed)


def made(name: str) -> DwiRun:
    return run(f"{name}_space-ACPC", preprocessed=True)


def notes_by_run(runs: list[PlannedRun]) -> dict[str, tuple[str, ...]]:
    return {one.name: one.notes if isinstance(one, DwiRun) else () for one in runs}


def test_a_session_without_a_preprocessed_series_uses_the_raw_one_with_a_note() -> None:
    raw = [run("sub-01_ses-1_run-1"), run("sub-01_ses-1_run-2"), run("sub-01_ses-2")]
    found = notes_by_run(replace_preprocessed(raw, {"qsiprep": [made("sub-01_ses-1_run-1")]}))
    assert found == {
        "sub-01_ses-1_run-1_space-ACPC": ("preprocessed in qsiprep; replaces sub-01_ses-1_run-1",),
        "sub-01_ses-1_run-2": ("no preprocessed series in qsiprep: the raw series is used",),
        "sub-01_ses-2": ("no preprocessed series in qsiprep: the raw series is used",),
    }


def test_a_merged_series_replaces_all_its_parts() -> None:
    raw = [run("sub-01_ses-1_dir-AP"), run("sub-01_ses-1_dir-PA"), run("sub-01_ses-2_dir-AP")]
    found = replace_preprocessed(raw, {"q": [made("sub-01_ses-1"), made("sub-01_ses-2_dir-AP")]})
    assert list(notes_by_run(found)) == ["sub-01_ses-1_space-ACPC", "sub-01_ses-2_dir-AP_space-ACPC"]


def test_the_first_of_two_datasets_is_used_and_the_other_is_reported() -> None:
    first, second = replace_preprocessed(
        [run("sub-01")], {"a": [made("sub-01")], "b": [run("sub-01_space-T1w", preprocessed=True)]}
    )
    assert first.name == "sub-01_space-ACPC"
    assert second == ExcludedRun(name="sub-01_space-T1w", reason="preprocessed in b, but the series in a is used")


def test_the_first_of_two_datasets_is_used_without_a_raw_run() -> None:
    first, second = replace_preprocessed([], {"a": [made("sub-01")], "b": [made("sub-01")]})
    assert isinstance(first, DwiRun)
    assert first.notes == ("preprocessed in a; replaces no existing raw run",)
    assert second == ExcludedRun(name=first.name, reason="preprocessed in b, but the series in a is used")


def test_a_preprocessed_series_without_a_raw_one_is_used_with_a_note() -> None:
    (one,) = replace_preprocessed([], {"q": [made("sub-01")]})
    assert notes_by_run([one]) == {"sub-01_space-ACPC": ("preprocessed in q; replaces no existing raw run",)}


def test_an_unusable_preprocessed_series_is_not_replaced_by_the_raw_one() -> None:
    problem = UnusableRun(name="sub-01_space-ACPC", error=NoInputError("a", "b", "c"))
    assert replace_preprocessed([run("sub-01")], {"q": [problem]}) == [problem]


def test_without_other_datasets_there_are_no_notes() -> None:
    assert notes_by_run(replace_preprocessed([run("sub-01")], {})) == {"sub-01": ()}
