"""Results of two settings in one output are refused with the difference, unless requested."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from test_participant import put_run

from bids_alps import participant
from bids_alps.cleanup import clear_run
from bids_alps.cli import main
from bids_alps.consistency import describe_differences, method_provenance
from bids_alps.errors import OutputError
from bids_alps.io.derivatives import derivative_path
from bids_alps.io.writing import write_text
from bids_alps.model import DwiRun
from bids_alps.participant import process_run
from bids_alps.planning import plan_participant
from bids_alps.provenance import describe_provenance, settings_hash, write_receipt
from bids_alps.settings import Method
from bids_alps.stages.run import RunResult

pytestmark = pytest.mark.medium


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(participant, "_measure", measure)


def measure(run: DwiRun, settings: Any) -> str:
    """Replace the stages: write one file with the settings, and the receipt."""
    out, made = settings.request.output_dir, describe_provenance(run, settings.method)
    clear_run(out, run)
    write_text(derivative_path(out, run, "alps"), f"radius {settings.method.roi_radius}")
    write_receipt(out, run, made, "alps bilateral 1.5")
    return "alps bilateral 1.5"


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """Two participants, both with results of the default settings."""
    for session in "12":
        put_run(tmp_path / "in", f"ses-{session}_dwi")
    files = {path: path.read_bytes() for path in (tmp_path / "in/sub-01").rglob("*_dwi.*")}
    for path, content in files.items():
        other = Path(str(path).replace("sub-01", "sub-02"))
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(content)
    assert run() == 0
    return tmp_path / "out"


def run(*options: str, level: str = "participant", out: str = "out") -> int:
    return main(["in", out, level, "--skip-bids-validation", *options])


def results(out: Path) -> dict[str, str]:
    found = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


OTHER = ("--roi-radius", "4", "--no-pose-correction")


@pytest.mark.parametrize(
    ("options", "again"),
    [
        ([], 4),
        (["--participant-label", "02"], 2),
        (["--session-label", "1"], 2),
        (["--participant-label", "02", "--session-label", "ses-2"], 1),
        (["--run-label", "3"], 0),
        (["--dry-run"], 4),
    ],
)
def test_other_settings_are_refused_with_the_difference(
    done: Path, options: list[str], again: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = results(done)
    capsys.readouterr()
    assert run(*OTHER, *options) == 73
    assert capsys.readouterr().err == (
        f"{done}: holds 4 runs processed with other settings (pose_correction: true before, false now; roi_radius: n/a "
        f"before, 4.0 now); {again} would be processed again. Use --force to replace them, or --output-label NAME to "
        "write to a separate dataset.\n"
    )
    assert results(done) == before


def test_the_same_settings_continue(done: Path) -> None:
    for options in ([], ["--participant-label", "01"], ["--nprocs", "1"], ["--dry-run"], ["--reports-only"]):
        assert run(*options) == 0


def test_force_replaces_results_and_their_settings_record(done: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(*OTHER, "--force", "--participant-label", "01") == 0
    assert "4 runs processed with other settings" in caplog.text
    assert "radius 4.0" in (done / "sub-01/ses-1/dwi/sub-01_ses-1_desc-alps_scalarstats.tsv").read_text()
    assert "radius None" in (done / "sub-02/ses-1/dwi/sub-02_ses-1_desc-alps_scalarstats.tsv").read_text()
    assert run() == 73  # two sorts of results, whichever is asked for
    assert run(*OTHER) == 73
    assert run(*OTHER, "--force") == 0
    assert run(*OTHER) == 0
    assert len(list((done / "logs/settings").iterdir())) == 1


def test_only_settings_records_are_removed(done: Path) -> None:
    folder = done / "logs/settings"
    mine = [folder / name for name in ("notes.json", "0123456789abcdef.json")]
    for path in mine:
        path.write_text('{"mine": 1}')
    assert run() == 0
    assert run(*OTHER, "--force") == 0
    assert run(*OTHER) == 0
    assert all(path.exists() for path in mine)
    assert len(list(folder.iterdir())) == 3


def test_output_label_separates_settings(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: content for name, content in results(done).items() if "summary" not in name}
    assert run(*OTHER, "--output-label", "radius4") == 0
    beside = done / "derivatives/bids-alps-radius4"
    assert "radius 4.0" in (beside / "sub-01/ses-1/dwi/sub-01_ses-1_desc-alps_scalarstats.tsv").read_text()
    assert (beside / "dataset_description.json").is_file()
    assert before.items() <= results(done).items()
    assert run(*OTHER, "--output-label", "radius4") == 0
    assert run("--output-label", "radius4") == 73
    assert run() == 0
    for label in ("../up", "a/b", "", "a b"):
        assert run("--output-label", label) == 64
    assert run("--output-label", "x", out="in") == 73


def test_labeled_and_unlabeled_results_can_share_a_folder(tmp_path: Path) -> None:
    put_run(tmp_path / "in", "dwi")
    assert run("--output-label", "a") == 0
    assert run("--output-label", "b", *OTHER) == 0
    assert run() == 0
    assert sorted(path.name for path in (tmp_path / "out/derivatives").iterdir()) == ["bids-alps-a", "bids-alps-b"]


def test_another_version_counts_as_other_settings(
    done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bids_alps.consistency.__version__", "9.0")
    assert run() == 73
    assert "(version: 0.1.0 before, 9.0 now)" in capsys.readouterr().err


def test_lost_settings_records_are_restored_from_receipts(done: Path) -> None:
    for path in (done / "logs/settings").iterdir():
        path.unlink()
    (done / "logs/settings").rmdir()
    assert run(*OTHER) == 73
    assert run() == 0
    assert len(list((done / "logs/settings").iterdir())) == 1


def test_a_job_reads_only_the_receipts_of_its_participant(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bids_alps.consistency.read_receipts", lambda *_: 1 / 0)
    assert run("--participant-label", "01") == 0


def test_the_settings_record_is_restored_if_another_job_removed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    from test_participant import settings_for

    put_run(tmp_path / "in", "dwi")
    settings = settings_for(tmp_path)
    monkeypatch.setattr("bids_alps.stages.run_stages", lambda *_: RunResult(measured=(), statements=()))
    (first,) = plan_participant("01", settings)
    assert isinstance(first, DwiRun)
    assert process_run(first, settings).exit_code == 0
    assert len(list((settings.request.output_dir / "logs/settings").iterdir())) == 1


def test_settings_of_a_concurrent_job_are_detected(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    from test_participant import settings_for

    settings = settings_for(tmp_path, *OTHER)
    first = next(run for run in plan_participant("01", settings) if isinstance(run, DwiRun))
    before = results(done / "sub-01")
    outcome = process_run(first, settings)
    assert outcome.exit_code == OutputError.exit_code
    assert "sub-01_ses-1 was processed with other settings (pose_correction: true before, false now" in outcome.message
    assert results(done / "sub-01") == before


CHANGES: dict[str, Any] = {
    "registrar": "dipy",
    "gradient_table": "repair",
    "roi_radius": 4.0,
    "shells": (1000.0,),
    "roi_weighting": "tissue",
    "exclude_lesions": True,
    "t1w_aligned": True,
    "b0_threshold": 20.0,
    "pose_correction": False,
    "skip_preprocessing": True,
    "threshold": ("pitch=5,10",),
    "gradient_calibration": True,
    "keep_failed": True,
    "combine_runs": True,
    "denoising": True,
    "unringing": True,
    "motion_correction": False,
    "distortion_correction": False,
    "random_seed": 1,
    "template": "MNI152NLin6Asym",
}


def test_every_setting_is_compared() -> None:
    assert {field.name for field in fields(Method)} == {*CHANGES, "rois", "atlas", "atlas_threshold"}


@pytest.mark.parametrize("name", CHANGES)
def test_settings_that_affect_the_index_change_the_hash(name: str) -> None:
    own = settings_hash(Method(), "alps")
    assert len(own) == 8
    assert int(own, 16) >= 0
    assert settings_hash(replace(Method(), **{name: CHANGES[name]}), "alps") != own


def test_settings_without_effect_on_the_index_keep_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    own = settings_hash(Method(), "alps")
    others = replace(Method(), rois=("alps", "alps.sh"), atlas=("HOSPA",), atlas_threshold=0.2)
    assert settings_hash(others, "alps") == own
    assert settings_hash(Method(), "alps.sh") != own
    assert settings_hash(Method(), "alps") == own
    monkeypatch.setattr("bids_alps.provenance.__version__", "9.0")
    assert settings_hash(Method(), "alps") != own


def test_custom_regions_are_compared_by_content(tmp_path: Path) -> None:
    hashes = []
    for folder, content in (("a", "one"), ("b", "one"), ("c", "two")):
        for name in ("mine_dseg.nii.gz", "mine_dseg.tsv"):
            write_text(tmp_path / folder / name, content)
        hashes.append(settings_hash(Method(), str(tmp_path / folder / "mine_dseg.nii.gz")))
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("name", ["rois", "atlas"])
def test_moved_files_are_the_same_settings(tmp_path: Path, name: str) -> None:
    for folder, content in (("a", "one"), ("b", "one"), ("c", "two")):
        write_text(tmp_path / folder / "mine_dseg.nii.gz", content)
    settings: list[dict[str, Any]] = [{name: (str(tmp_path / folder / "mine_dseg.nii.gz"),)} for folder in "abc"]
    first, moved, changed = (method_provenance(replace(Method(), **chosen)) for chosen in settings)
    assert first == moved
    assert (
        describe_differences([first], changed) == f"{name}: mine_dseg.nii.gz (7692c3ad) before, "
        "mine_dseg.nii.gz (3fc4ccfe) now"
    )
    assert str(tmp_path) not in str(first)


def test_a_moved_template_folder_is_the_same_setting() -> None:
    first, moved = (method_provenance(replace(Method(), template=f"/{folder}/tpl-Mine")) for folder in ("data", "mnt"))
    assert first == moved


def test_a_hash_of_digits_keeps_its_zeros(tmp_path: Path) -> None:
    from bids_alps.io.tables import read_table

    (tmp_path / "t.tsv").write_text("settings_hash\tversion\n00123456\t0.10\n12e45678\t0.1\n")
    assert read_table(tmp_path / "t.tsv").to_numpy().tolist() == [["00123456", "0.10"], ["12e45678", "0.1"]]


def test_unreadable_receipts_are_ignored(done: Path) -> None:
    receipts = sorted((done / "logs/sub-01").glob("*receipt*"))
    receipts[0].write_text("{")
    receipts[1].write_text(json.dumps({"method": None, "versions": []}))
    assert run() == 0
