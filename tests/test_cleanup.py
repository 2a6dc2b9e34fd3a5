"""Results that are outdated, since their runs are processed again or under another name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bids_alps.cleanup import clear_longitudinal, clear_superseded, find_superseded
from bids_alps.io.derivatives import derivative_path
from bids_alps.io.writing import write_text
from bids_alps.model import DwiRun, Fieldmap, FieldmapImage
from bids_alps.provenance import (
    describe_longitudinal_provenance,
    describe_provenance,
    find_longitudinal,
    find_outputs,
    receipt_path,
    write_receipt,
)
from bids_alps.settings import Method


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def finish(out: Path, **entities: str) -> DwiRun:
    """Write the inputs of a run, its index table and its receipt."""
    name = "_".join(f"{key}-{label}" for key, label in entities.items())
    image, bval, bvec = (out.with_name("in") / f"{name}_dwi.{key}" for key in ("image", "bval", "bvec"))
    for path in (image, bval, bvec):
        write_text(path, path.name)
    return write_result(out, DwiRun(entities=entities, image=image, bval=bval, bvec=bvec))


def write_result(out: Path, run: DwiRun) -> DwiRun:
    write_text(derivative_path(out, run, "alps"), run.name)
    write_receipt(out, run, describe_provenance(run, Method()), "1.5")
    return run


def names(runs: list[DwiRun]) -> list[str]:
    return [run.name for run in runs]


def test_longitudinal_results_go_with_a_session(out: Path) -> None:
    runs = [finish(out, sub="01", ses=session) for session in "123"]
    whole = replace(runs[0], entities={"sub": "01"})
    write_text(derivative_path(out, whole, "change"), "0.1")
    for run in runs[:2]:
        write_text(derivative_path(out, run, "alps_longitudinal"), "1.5")
    described = describe_longitudinal_provenance(out, runs[:2], Method())
    write_receipt(out, whole, described, "0.1", also=find_longitudinal(out, runs))
    clear_longitudinal(out, runs[2])  # it was not compared
    assert derivative_path(out, whole, "change").exists()
    clear_longitudinal(out, runs[0])
    assert [*find_longitudinal(out, runs), *find_outputs(out, whole)] == []
    assert not receipt_path(out, whole).exists()
    assert all(receipt_path(out, run).exists() and derivative_path(out, run, "alps").exists() for run in runs)


def test_separate_results_are_removed_with_force_once_their_files_are_merged(
    out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, other = (finish(out, sub="01", run=number) for number in "123")
    merged = replace(first, entities={"sub": "01"}, partners=(second,))
    clear_superseded(out, [merged], force=False)
    assert "sub-01_run-2: earlier results, from images that are now those of other runs" in caplog.text
    assert find_outputs(out, first)
    clear_superseded(out, [merged], force=True)
    assert [
        path for run in (first, second) for path in (*find_outputs(out, run), receipt_path(out, run)) if path.exists()
    ] == []
    assert find_outputs(out, other)


def test_merged_results_are_superseded_by_separate_ones(out: Path) -> None:
    first, second = (finish(out, sub="01", run=number) for number in "12")
    merged = write_result(out, replace(first, entities={"sub": "01"}, partners=(second,)))
    assert names(find_superseded(out, [second])) == ["sub-01"]
    assert names(find_superseded(out, [merged])) == ["sub-01_run-1", "sub-01_run-2"]
    assert find_superseded(out, []) == []


def test_a_run_that_is_the_fieldmap_of_another_does_not_supersede_it(out: Path) -> None:
    reverse = finish(out, sub="01", dir="PA")
    fieldmap = Fieldmap(method="reverse phase encoding", images=(FieldmapImage(path=reverse.image),))
    write_result(out, replace(finish(out, sub="01", dir="AP"), fieldmaps=(fieldmap,)))
    assert find_superseded(out, [reverse]) == []


@pytest.mark.parametrize("content", ["[]", "{", '{"images": 3, "inputs": "x", "longitudinal": true}'])
def test_damaged_receipts_are_ignored(out: Path, content: str) -> None:
    run = finish(out, sub="01", ses="1")
    receipt_path(out, run).with_name("sub-01_desc-receipt_dwi.json").write_text(content)
    clear_longitudinal(out, run)
    assert find_superseded(out, [run]) == []


def test_nothing_outside_the_participant_is_removed(out: Path) -> None:
    run = finish(out, sub="01", ses="1")
    mine = out / "sub-02/ses-1/dwi/sub-02_ses-1_desc-longitudinal_scalarstats.tsv"
    write_text(mine, "mine")
    receipt = {
        "longitudinal": True,
        "inputs": {receipt_path(out, run).name: {}, "sub-02_ses-1_desc-receipt_dwi.json": {}},
    }
    write_text(receipt_path(out, run).with_name("sub-01_desc-receipt_dwi.json"), json.dumps(receipt))
    write_text(receipt_path(out, run).with_name("sub-01_ses-..x_desc-receipt_dwi.json"), json.dumps(receipt))
    clear_longitudinal(out, run)
    assert mine.read_text() == "mine"
