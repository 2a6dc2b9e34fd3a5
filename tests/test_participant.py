from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import nifti_bytes
from threadpoolctl import threadpool_info, threadpool_limits

from bids_alps import participant, planning
from bids_alps.arguments import parse, settings_of
from bids_alps.cli import settings_from
from bids_alps.errors import NoInputError, UsageError
from bids_alps.io.layout import UnusableRun
from bids_alps.model import DwiRun, SpatialMap
from bids_alps.participant import Outcome, plan_work
from bids_alps.planning import describe_plan, plan_participant
from bids_alps.provenance import describe_provenance, write_receipt
from bids_alps.settings import Settings

SERIES = nifti_bytes(SpatialMap(data=np.ones((2, 2, 2, 8)), affine=np.eye(4)))
TABLES = {
    "bval": "0" + " 1000" * 7 + "\n",
    "bvec": "0 1 0 0 .6 .6 0 .8\n0 0 1 0 .8 0 .6 0\n0 0 0 1 0 .8 .8 -.6\n",
}


def put_run(root: Path, stem: str, **description: str) -> None:
    session = f"{stem[:5]}/" if stem.startswith("ses-") else ""
    image = root / f"sub-01/{session}dwi/sub-01_{stem}.nii.gz"
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(SERIES)
    for ending, table in TABLES.items():
        image.with_name(f"sub-01_{stem}.{ending}").write_text(table)
    described = {"Name": "a dataset", "BIDSVersion": "1.8.0", **description}
    (root / "dataset_description.json").write_text(json.dumps(described))


def settings_for(tmp_path: Path, *arguments: str) -> Settings:
    return settings_of(parse([str(tmp_path / "in"), str(tmp_path / "out"), "participant", *arguments]))


def test_preprocessed_runs_replace_the_raw_ones(tmp_path: Path) -> None:
    put_run(tmp_path / "in", "dwi")
    put_run(tmp_path / "q", "space-ACPC_desc-preproc_dwi", DatasetType="derivative")
    (run,) = plan_participant("01", settings_for(tmp_path, "-d", f"qsiprep={tmp_path / 'q'}"))
    assert isinstance(run, DwiRun)
    assert run.preprocessed
    assert run.image.is_relative_to(tmp_path / "q")


def test_derivatives_are_named_explicitly_or_by_folder(tmp_path: Path) -> None:
    (tmp_path / "q").mkdir()
    chosen = settings_for(tmp_path, "--derivatives", f"a={tmp_path / 'q'}", str(tmp_path / "q"))
    assert chosen.request.datasets == {"a": tmp_path / "q", "q": tmp_path / "q"}
    with pytest.raises(NoInputError):
        _ = settings_for(tmp_path, "-d", "a=nowhere").request.datasets


def test_a_defective_folder_does_not_affect_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("unforeseen")

    monkeypatch.setattr(planning, "plan_participant", fail)
    (outcome,) = plan_work("01", settings_for(tmp_path, "--run-uuid", "x"))
    assert isinstance(outcome, Outcome)
    assert outcome.exit_code == 1
    crash = (tmp_path / "out/logs/sub-01/x/crash-sub-01.txt").read_text()
    assert "ValueError: unforeseen" in crash
    assert "Traceback" in crash
    assert (tmp_path / "out/logs/sub-01/x/bids-alps.toml").read_text().startswith("[request]")
    assert "unforeseen" in (tmp_path / "out/logs/sub-01/x/bids-alps.log").read_text()


def test_only_a_result_resolves_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_run(tmp_path / "in", "run-1_dwi")
    settings = settings_for(tmp_path, "--run-uuid", "x")

    def crashes() -> list[str]:
        return sorted(path.name for path in (tmp_path / "out/logs/sub-01").glob("*/*crash-*.txt"))

    for name in ("sub-01", "sub-01_run-1"):
        participant.fail_run(name, ValueError("once"), settings)
    (run,) = plan_work("01", settings)
    assert crashes() == ["crash-sub-01_run-1.txt"]
    assert isinstance(run, DwiRun)
    monkeypatch.setattr(participant, "_measure", lambda *_: 1 / 0)
    participant.process_run(run, settings)
    assert crashes() == ["crash-sub-01_run-1.txt"]
    monkeypatch.setattr(participant, "_measure", lambda *_: "left 1.5")
    participant.process_run(run, settings)
    assert crashes() == []
    assert (tmp_path / "out/logs/sub-01/x/resolved-sub-01_run-1.txt").is_file()


def put_lesions(root: Path, *names: str) -> str:
    for name in names:
        path = root / "sub-01" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SERIES)
    root.mkdir(exist_ok=True)
    return f"lesions={root}"


def test_a_lesion_dataset_provides_masks_but_no_runs(tmp_path: Path) -> None:
    put_run(tmp_path / "in", "dwi")
    put_run(tmp_path / "l", "space-ACPC_desc-preproc_dwi")
    lesions = put_lesions(tmp_path / "l", "dwi/sub-01_label-lesion_mask.nii.gz")
    (run,) = plan_participant("01", settings_for(tmp_path, "-d", lesions))
    assert isinstance(run, DwiRun)
    assert not run.preprocessed
    assert run.lesions is not None
    assert run.lesions.path == tmp_path / "l/sub-01/dwi/sub-01_label-lesion_mask.nii.gz"
    (run,) = plan_participant("01", settings_for(tmp_path))
    assert isinstance(run, DwiRun)
    assert run.lesions is None


def test_contradictory_masks_fail_their_run_only(tmp_path: Path) -> None:
    put_run(tmp_path / "in", "run-1_dwi")
    put_run(tmp_path / "in", "run-2_dwi")
    masks = (f"dwi/sub-01_run-2_desc-{who}_label-lesion_mask.nii.gz" for who in ("one", "other"))
    first, second = plan_participant("01", settings_for(tmp_path, "-d", put_lesions(tmp_path / "l", *masks)))
    assert isinstance(first, DwiRun)
    assert isinstance(second, UnusableRun)
    assert "2 lesion masks" in str(second.error)


def test_exclusion_needs_masks(tmp_path: Path) -> None:
    put_run(tmp_path / "in", "dwi")
    with pytest.raises(UsageError, match="Give one: -d lesions=PATH"):
        plan_participant("01", settings_for(tmp_path, "--exclude-lesions"))


def test_opposite_runs_are_merged_on_request_only(tmp_path: Path) -> None:
    for direction, sense in (("AP", "j-"), ("PA", "j")):
        put_run(tmp_path / "in", f"dir-{direction}_dwi")
        sidecar = tmp_path / f"in/sub-01/dwi/sub-01_dir-{direction}_dwi.json"
        sidecar.write_text(json.dumps({"PhaseEncodingDirection": sense}))
    apart = plan_participant("01", settings_for(tmp_path))
    assert [run.name for run in apart] == ["sub-01_dir-AP", "sub-01_dir-PA"]
    (merged,) = plan_participant("01", settings_for(tmp_path, "--combine-runs"))
    assert isinstance(merged, DwiRun)
    assert [partner.name for partner in merged.partners] == ["sub-01_dir-PA"]


@pytest.mark.parametrize("option", ["--combine-runs", "--denoising", "--unringing"])
def test_steps_of_preprocessing_are_refused_if_it_is_skipped(tmp_path: Path, option: str) -> None:
    put_run(tmp_path / "in", "dwi")
    arguments = [str(tmp_path / "in"), str(tmp_path / "out"), "participant", "--skip-preprocessing"]
    with pytest.raises(UsageError, match=f"{option}: is a step of preprocessing, which --skip-preprocessing omits"):
        settings_from([*arguments, option])
    settings_from(arguments)


def test_the_plan_names_parts_that_are_not_merged(tmp_path: Path) -> None:
    for number in "12":
        put_run(tmp_path / "in", f"run-{number}_dwi")
        sidecar = tmp_path / f"in/sub-01/dwi/sub-01_run-{number}_dwi.json"
        sidecar.write_text(json.dumps({"PhaseEncodingDirection": "j", "MultipartID": "a"}))
    (merged,) = plan_participant("01", settings_for(tmp_path))
    assert merged.name == "sub-01"
    first, _ = plan_participant("01", settings_for(tmp_path, "--skip-preprocessing"))
    assert isinstance(first, DwiRun)
    assert first.notes == ("not merged because of --skip-preprocessing: has the MultipartID of sub-01_run-2",)


def test_runs_with_one_name_are_refused_with_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in "12":
        put_run(tmp_path / "in", f"run-{number}_dwi")
    runs = plan_participant("01", settings_for(tmp_path))
    same = [replace(run, entities={"sub": "01"}) for run in runs if isinstance(run, DwiRun)]
    monkeypatch.setattr(planning, "combine", lambda *_, **__: same)
    (refused,) = plan_participant("01", settings_for(tmp_path, "--combine-runs"))
    assert isinstance(refused, UnusableRun)
    assert refused.name == "sub-01"
    assert "2 runs have this name" in str(refused.error)
    assert all(str(run.image) in str(refused.error) for run in same)


def test_ignored_images_are_treated_as_missing(tmp_path: Path) -> None:
    for direction, sense in (("AP", "j-"), ("PA", "j")):
        put_run(tmp_path / "in", f"dir-{direction}_dwi")
        sidecar = tmp_path / f"in/sub-01/dwi/sub-01_dir-{direction}_dwi.json"
        sidecar.write_text(json.dumps({"PhaseEncodingDirection": sense}))
    first, _ = plan_participant("01", settings_for(tmp_path))
    assert isinstance(first, DwiRun)
    assert len(first.fieldmaps) == 1
    assert first.notes == ("--combine-runs would merge it with sub-01_dir-PA",)
    first, _ = plan_participant("01", settings_for(tmp_path, "--ignore", "fieldmaps", "t1w"))
    assert isinstance(first, DwiRun)
    assert first.fieldmaps == ()
    assert first.notes[0] == "ignored by --ignore: fieldmaps, t1w"


def test_labels_select_participants_sessions_and_runs(tmp_path: Path) -> None:
    for session in "12":
        for number in ("01", "02"):
            put_run(tmp_path / "in", f"ses-{session}_run-{number}_dwi")
    filters = tmp_path / "filters.json"
    filters.write_text('{"dwi": {"run": 2}}')
    for options, found in (
        (["--session-label", "ses-2"], ["sub-01_ses-2_run-01", "sub-01_ses-2_run-02"]),
        (["--run-label", "1"], ["sub-01_ses-1_run-01", "sub-01_ses-2_run-01"]),
        (["--bids-filter-file", str(filters)], ["sub-01_ses-1_run-02", "sub-01_ses-2_run-02"]),
    ):
        assert [run.name for run in plan_participant("01", settings_for(tmp_path, *options))] == found


def test_a_finished_run_is_reprocessed_only_with_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_run(tmp_path / "in", "dwi")
    (run,) = plan_participant("01", settings_for(tmp_path))
    assert isinstance(run, DwiRun)
    done: list[str] = []
    monkeypatch.setattr(participant, "find_finished", lambda *_: "left 1.5")
    monkeypatch.setattr("bids_alps.stages.run_stages", lambda run, *_: done.append(run.name) or ())
    outcome = participant.process_run(run, settings_for(tmp_path))
    assert (outcome.message, done) == ("left 1.5 [up to date]", [])
    participant.process_run(run, settings_for(tmp_path, "--force"))
    assert done == ["sub-01"]


def test_resources_are_logged_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put_run(tmp_path / "in", "dwi")
    (run,) = plan_participant("01", settings_for(tmp_path))
    assert isinstance(run, DwiRun)
    monkeypatch.setattr(participant, "_measure", lambda *_: "left 1.5")
    for options, logged in (([], False), (["--resource-monitor"], True)):
        caplog.clear()
        participant.process_run(run, settings_for(tmp_path, *options))
        assert ("of CPU time" in caplog.text) is logged


def test_planning_reads_only_the_folder_of_the_participant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others there are, nothing of theirs is looked at."""
    put_run(tmp_path / "in", "dwi")
    (tmp_path / "in/sub-02/dwi").mkdir(parents=True)
    looked: list[str] = []
    seen = os.scandir

    def scandir(path: object = ".") -> object:
        looked.append(str(path))
        return seen(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert plan_participant("01", settings_for(tmp_path))
    assert any("sub-01" in path for path in looked)
    assert not [path for path in looked if "sub-02" in path]


@pytest.mark.parametrize("results", [0, 1, 2, 3])
def test_sessions_are_compared_where_two_have_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: int
) -> None:
    nowhere = tmp_path / "nowhere"
    entities = [{"sub": "01", "ses": str(n)} for n in range(3)]
    runs = tuple(DwiRun(entities=one, image=nowhere, bval=nowhere, bvec=nowhere) for one in entities)
    for n in range(results):
        (tmp_path / str(n)).touch()
    monkeypatch.setattr(participant, "receipt_path", lambda _, run: tmp_path / run.entities["ses"])
    monkeypatch.setattr(participant, "describe_longitudinal_provenance", lambda _, processed, __: len(processed))
    monkeypatch.setattr(participant, "find_finished", lambda _, __, provenance: f"{provenance} sessions")
    cleared: list[str] = []
    monkeypatch.setattr(participant, "clear_run", lambda _, run: cleared.append(run.name))
    found = participant._compare(runs, settings_for(tmp_path))
    if results < 2:
        assert found == f"{results} session with a result: no longitudinal comparison"
        assert cleared == ["sub-01"]
    else:
        assert found == f"{results} sessions {participant.DONE_BEFORE}"
        assert cleared == []


def test_the_change_is_told_of_the_first_pair_of_sessions_in_the_first_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bids_alps.stages import longitudinal

    entities = [{"sub": "01", "ses": str(n)} for n in range(2)]
    nowhere = tmp_path / "nowhere"
    runs = tuple(DwiRun(entities=one, image=nowhere, bval=nowhere, bvec=nowhere) for one in entities)

    def row(
        first: str, second: str, preset: str, hemisphere: str, change: float, differs: bool = False
    ) -> dict[str, object]:
        names = {"first_session": first, "second_session": second, "roi_preset": preset, "hemisphere": hemisphere}
        return names | {"change": change, "change_ci_low": change - 1, "change_ci_high": change + 1, "differs": differs}

    rows = [
        row("0", "1", "alps", "left", 0.5),
        row("0", "1", "alps-sphere", "bilateral", 0.125),
        row("0", "1", "alps", "bilateral", 0.25),
        row("1", "2", "alps", "bilateral", 2.0),
        row("0", "2", "alps", "bilateral", -0.5, differs=True),
    ]
    for name in ("describe_longitudinal_provenance", "clear_run", "check_run", "record_settings", "write_receipt"):
        monkeypatch.setattr(participant, name, lambda *_, **__: {})
    monkeypatch.setattr(participant, "receipt_path", lambda *_: tmp_path)
    monkeypatch.setattr(participant, "remove_half_written", lambda *_: None)
    monkeypatch.setattr(participant, "find_finished", lambda *_: None)
    monkeypatch.setattr(participant, "find_longitudinal", lambda *_: [])
    monkeypatch.setattr(longitudinal, "run_longitudinal", lambda *_: rows)
    assert participant._compare(runs, settings_for(tmp_path)) == (
        "ses-0 to ses-1 bilateral +0.250 (-0.750 to +1.250); "
        "ses-0 to ses-2 bilateral -0.500 (-1.500 to +0.500, other protocol)"
    )


def test_a_run_has_one_thread_of_blas_whatever_there_was_before(tmp_path: Path) -> None:
    def count() -> str:
        return " ".join(str(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas")

    with threadpool_limits(2, user_api="blas"):
        before = count().split()
        logged = participant._run_logged("sub-01", count, settings_for(tmp_path)).message.split()
    assert set(before) == {"2"}
    assert logged == ["1"] * len(before)


def test_the_plan_refuses_a_run_without_the_precomputed_transform(tmp_path: Path) -> None:
    put_run(tmp_path / "in", "dwi")
    (run,) = plan_participant("01", settings_for(tmp_path))
    assert describe_plan(run, settings_for(tmp_path))["state"] == "due"
    plan = describe_plan(run, settings_for(tmp_path, "--registrar", "precomputed"))
    assert (plan["state"], plan["exit_code"]) == ("skipped", 66)
    assert "no transform to MNI152NLin2009aSym (available: none)" in plan["reason"]


def test_the_plan_does_not_promise_that_a_result_is_up_to_date(tmp_path: Path) -> None:
    put_run(tmp_path / "in", "dwi")
    settings = settings_for(tmp_path)
    (run,) = plan_participant("01", settings)
    assert isinstance(run, DwiRun)
    write_receipt(settings.request.output_dir, run, describe_provenance(run, settings.method), "1.5")
    assert describe_plan(run, settings)["state"] == "has a result"
    assert describe_plan(run, settings_for(tmp_path, "--force"))["state"] == "due"
