from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bids_alps import provenance
from bids_alps.cleanup import clear_run, remove_half_written
from bids_alps.errors import OutputError
from bids_alps.io.derivative_kinds import DERIVATIVES
from bids_alps.io.derivatives import derivative_path
from bids_alps.io.writing import append_text, write_text
from bids_alps.model import DwiRun, Fieldmap, FieldmapImage, LesionMask
from bids_alps.provenance import (
    describe_provenance,
    explain_reprocessing,
    find_finished,
    find_outputs,
    receipt_path,
    write_receipt,
)
from bids_alps.settings import Method

METHOD = Method()


@pytest.fixture
def run(tmp_path: Path) -> DwiRun:
    files: dict[str, Any] = {name: tmp_path / f"in/{name}" for name in ("image", "bval", "bvec")}
    for path in files.values():
        write_text(path, path.name)
    return DwiRun(entities={"sub": "01"}, **files, metadata={"EchoTime": 0.1})


@pytest.fixture
def out(tmp_path: Path, run: DwiRun) -> Path:
    output_dir = tmp_path / "out"
    for key in ("fa", "alps"):
        write_text(derivative_path(output_dir, run, key), key)
    write_receipt(output_dir, run, describe_provenance(run, METHOD), "found")
    return output_dir


def test_a_finished_run_is_recognized(out: Path, run: DwiRun) -> None:
    assert find_finished(out, run, describe_provenance(run, METHOD)) == "found"


@pytest.mark.parametrize(
    "change", ["settings", "input", "metadata", "lesions", "code", "output", "lost output", "receipt"]
)
def test_any_change_triggers_reprocessing(out: Path, run: DwiRun, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if change == "code":  # of the same version
        monkeypatch.setattr(provenance, "code_digest", lambda: "other")
    method = replace(METHOD, roi_radius=4.0) if change == "settings" else METHOD
    if change == "input":
        run.bval.write_text("other")
    if change == "metadata":
        run = replace(run, metadata={"EchoTime": 0.2})
    if change == "lesions":  # asked for, and none there
        run = replace(run, lesions=LesionMask())
    if change == "output":
        derivative_path(out, run, "fa").write_text("other")
    if change == "lost output":
        derivative_path(out, run, "fa").unlink()
    if change == "receipt":
        receipt_path(out, run).write_text("{")
    assert find_finished(out, run, describe_provenance(run, method)) is None


@pytest.mark.parametrize("change", ["fieldmap", "order", "method", "matching", "partner", "fieldmap of a partner"])
def test_any_change_of_a_fieldmap_or_merged_file_triggers_reprocessing(out: Path, run: DwiRun, change: str) -> None:
    image = FieldmapImage(path=run.image, metadata={"EchoTime2": 0.007})
    other = FieldmapImage(path=run.image, metadata={"EchoTime2": 0.008})
    phase = Fieldmap(method="phase difference", images=(image,))
    hertz = Fieldmap(method="measured field", images=(image,))
    partner = replace(run, entities={"sub": "01", "run": "2"}, fieldmaps=(phase,))
    run = replace(run, fieldmaps=(phase, hertz), partners=(partner,))
    write_receipt(out, run, describe_provenance(run, METHOD), "found")
    assert find_finished(out, run, describe_provenance(run, METHOD)) == "found"
    changed = {
        "fieldmap": replace(run, fieldmaps=(replace(phase, images=(other,)), hertz)),
        "order": replace(run, fieldmaps=(hertz, phase)),
        "method": replace(run, fieldmaps=(replace(phase, method="two phases"), hertz)),
        "matching": replace(run, fieldmaps=(replace(phase, images=(), matching=(image,)), hertz)),
        "partner": replace(run, partners=(replace(partner, metadata={"TotalReadoutTime": 0.9}),)),
        "fieldmap of a partner": replace(run, partners=(replace(partner, fieldmaps=(hertz,)),)),
    }
    assert find_finished(out, run, describe_provenance(changed[change], METHOD)) is None


def test_another_lesion_mask_triggers_reprocessing(out: Path, run: DwiRun) -> None:
    mask = out.with_name("mask")
    write_text(mask, "a mask")
    run = replace(run, lesions=LesionMask(path=mask, space="dwi"))
    write_receipt(out, run, describe_provenance(run, METHOD), "found")
    assert find_finished(out, run, describe_provenance(run, METHOD)) == "found"
    write_text(mask, "another")
    assert find_finished(out, run, describe_provenance(run, METHOD)) is None


def test_outputs_belong_to_their_run(out: Path, run: DwiRun) -> None:
    other = replace(run, entities={"sub": "01", "run": "2"})
    write_text(derivative_path(out, other, "fa"), "other")
    assert find_outputs(out, run) == sorted(derivative_path(out, run, key) for key in ("fa", "alps"))
    clear_run(out, run)
    assert not find_outputs(out, run)
    assert not receipt_path(out, run).exists()
    assert find_outputs(out, other)


def test_files_of_users_are_kept(out: Path, run: DwiRun) -> None:
    folder, figures = derivative_path(out, run, "fa").parent, out / "sub-01/figures"
    figures.mkdir()
    mine = [folder / name for name in ("sub-01_desc-mine_dwi.nii.gz", "sub-01_notes.txt", ".mine.tmp")]
    mine.append(figures / "sub-01_poster.svg")
    for path in mine:
        path.write_text("mine")
        os.utime(path, (0, 0))
    stale = [folder / "sub-01_seg-x_dseg.tsv", figures / "sub-01_seg-x_desc-rois_dwi.svg"]
    for path in stale:
        path.write_text("of other settings")
    write_receipt(out, run, describe_provenance(run, METHOD), "found")
    listed = set(json.loads(receipt_path(out, run).read_text())["outputs"])
    assert listed == {path.relative_to(out).as_posix() for path in find_outputs(out, run)}
    assert {path.relative_to(out).as_posix() for path in stale} <= listed
    clear_run(out, run)
    assert all(path.read_text() == "mine" for path in mine)
    assert not any(path.exists() for path in stale)


@pytest.mark.parametrize("key", list(DERIVATIVES))
def test_every_file_that_is_written_is_known_as_an_output(tmp_path: Path, run: DwiRun, key: str) -> None:
    run = replace(run, entities={"sub": "01", "run": "2", "acq": "a", "space": "ACPC"})
    write_text(derivative_path(tmp_path, run, key, template="T1", preset="alpssh", atlas="HO+"), key)
    assert len(find_outputs(tmp_path, run)) == 1


def test_a_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "a.log").symlink_to("mine")
    with pytest.raises(OutputError, match="symbolic links"):
        append_text(tmp_path / "a.log")
    for line in ("one\n", "two\n"):
        with append_text(tmp_path / "b.log") as stream:
            stream.write(line)
    assert (tmp_path / "b.log").read_text() == "one\ntwo\n"
    assert (tmp_path / "mine").read_text() == "mine"


def test_remains_of_a_killed_process_are_removed(out: Path, run: DwiRun) -> None:
    begin = "import sys; from pathlib import Path; from bids_alps.io.temporary import create_temporary as create"
    targets = [derivative_path(out, run, "fa"), out / "sub-01/figures/sub-01_a.svg", receipt_path(out, run)]
    for target in (*targets, out / "sub-01/figures/sub-01x_a.svg"):  # the last is of another run
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-c", f"{begin}; create(Path(sys.argv[1]))", str(target)], check=True)
    remove_half_written(out, run)
    assert [path.name[:12] for path in out.rglob(".*.tmp")] == [".sub-01x_a.s"]


def test_the_reason_for_reprocessing_is_reported(out: Path, run: DwiRun) -> None:
    making = describe_provenance(run, METHOD)
    assert explain_reprocessing(out, run, describe_provenance(run, replace(METHOD, roi_radius=5.0))) == (
        "roi_radius was n/a and is 5.0"
    )
    assert explain_reprocessing(out, run, {**making, "inputs": {}}) == "an input file or its sidecar has changed"
    assert explain_reprocessing(out, run, making) == "outputs were changed or removed, or --force was given"
    receipt_path(out, run).unlink()
    assert explain_reprocessing(out, run, making) == ""
