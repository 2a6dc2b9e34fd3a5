"""Which runs the group level uses: those that are finished."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from simulated_cohort import write_people, write_run

from bids_alps.cli import main
from bids_alps.group.datasets import open_datasets
from bids_alps.group.exclusions import NOTHING
from bids_alps.io.root import write_root
from bids_alps.io.writing import write_text
from bids_alps.statistics.selection import EVERYTHING


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Path]:
    """Four participants with results, of whom the last is not finished."""
    bids, out = tmp_path / "in", tmp_path / "out"
    write_people(bids, pd.DataFrame({"participant_id": [f"sub-0{n}" for n in range(1, 6)]}))
    write_text(bids / "dataset_description.json", '{"Name": "a", "BIDSVersion": "1.8.0"}')
    write_root(out, bids)
    for n in range(1, 5):
        write_run(out, {"sub": f"0{n}"}, 1.4 + 0.01 * n, seed=n)
    (out / "logs/sub-04/sub-04_desc-receipt_dwi.json").unlink()
    return bids, out


def gathered(study: tuple[Path, Path], *options: str) -> list[str]:
    assert main([str(study[0]), str(study[1]), "group", "--permutations", "0", *options]) == 0
    return pd.read_csv(study[1] / "group_alps.tsv", sep="\t")["participant_id"].tolist()


def exclusions(study: tuple[Path, Path]) -> set[tuple[str, str, str]]:
    table = pd.read_csv(study[1] / "group_exclusions.tsv", sep="\t")
    return set(table[["participant_id", "excluded_from", "reason"]].itertuples(index=False, name=None))


def test_runs_without_a_receipt_are_not_used(study: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    write_text(study[1] / "logs/sub-02/a/crash-sub-02.txt", "disk full\n")
    write_text(study[1] / "logs/sub-05/a/crash-sub-05.txt", "no bvec\n")
    assert gathered(study) == ["sub-01", "sub-02", "sub-03"]
    assert exclusions(study) == {
        ("sub-02", NOTHING, "the last attempt of sub-02 failed, and its earlier result is used: disk full"),
        ("sub-04", EVERYTHING, "sub-04 is not finished: it has tables, but no receipt"),
        ("sub-05", EVERYTHING, "no result for sub-05: no bvec"),
    }
    assert "Unfinished runs, which are not used: 1 (sub-04)." in capsys.readouterr().err
    assert set(pd.read_csv(study[1] / "group_rois.tsv", sep="\t")["participant_id"]) == {"sub-01", "sub-02", "sub-03"}


def test_tables_that_a_receipt_does_not_list_are_not_used(study: tuple[Path, Path]) -> None:
    write_text(study[1] / "logs/sub-04/sub-04_desc-receipt_dwi.json", '{"outputs": {"sub-04/dwi/other.tsv": ""}}')
    assert gathered(study) == ["sub-01", "sub-02", "sub-03"]


def test_without_finished_runs_the_error_says_so(study: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for path in (study[1] / "logs").rglob("*receipt*"):
        path.unlink()
    assert main([str(study[0]), str(study[1]), "group"]) != 0
    assert "no results of any participant, but unfinished runs (4)" in capsys.readouterr().err


def test_a_dataset_without_logs_is_used_with_a_note(
    study: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = tmp_path / "older"
    write_root(older, study[0])
    (study[1] / "sub-04").rename(older / "sub-04")
    assert gathered(study, "-d", f"older={older}") == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert f"{older} has no logs: all its tables are used" in capsys.readouterr().err.replace("\n", " ")


def test_longitudinal_tables_that_are_not_finished_are_not_used(study: tuple[Path, Path]) -> None:
    (dataset,) = open_datasets({"": study[1]})
    (table,) = dataset.find("desc-alps")[:1]
    assert dataset.is_finished(table)
    assert not dataset.is_finished(table.with_name(table.name.replace("desc-alps", "desc-longitudinal")))
