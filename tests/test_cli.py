from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from helpers import nifti_bytes
from hypothesis import given
from hypothesis import strategies as st

from bids_alps import planning
from bids_alps.arguments import GROUPS, POSITIONAL, make_parser, parse, read_config
from bids_alps.cli import main, read_labels, settings_from
from bids_alps.descriptor import render_descriptor
from bids_alps.errors import AnalysisLevelError, UsageError
from bids_alps.io.root import write_root
from bids_alps.io.validation import find_validator
from bids_alps.model import SpatialMap
from bids_alps.settings import Settings, as_toml

PACKAGE = Path(__file__).parents[1] / "bids_alps"
BASE = ["in", "out", "participant"]
SETTINGS = [field.name for group in GROUPS.values() for field in fields(group)]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    (root / "sub-01/dwi").mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "a dataset", "BIDSVersion": "1.8.0"}')
    return root


def settings(*arguments: str) -> Settings:
    return settings_from([*BASE, *arguments])[1]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("spelling", "field"),
    [
        ("--participant-label=01", "participant_label"),
        ("--participant_label=01", "participant_label"),
        ("--session-label=1", "session_label"),
        ("--session_label=1", "session_label"),
        ("--session-id=1", "session_label"),
        ("--run-label=1", "run_label"),
        ("--run=1", "run_label"),
        ("--run-id=1", "run_label"),
        ("--bids-filter-file=f.json", "bids_filter_file"),
        ("--bids-database-dir=db", "bids_database_dir"),
        ("--derivatives=q", "derivatives"),
        ("--datasets=q", "derivatives"),
        ("-dq", "derivatives"),
        ("--nprocs=2", "nprocs"),
        ("--nthreads=2", "nprocs"),
        ("--n-cpus=2", "nprocs"),
        ("--n_cpus=2", "nprocs"),
        ("--omp-nthreads=2", "omp_nthreads"),
        ("--mem=2000", "mem"),
        ("--mem-mb=2000", "mem"),
        ("--mem-gb=2", "mem"),
        ("-wdir", "work_dir"),
        ("--work-dir=dir", "work_dir"),
        ("--work_dir=dir", "work_dir"),
        ("--random-seed=3", "random_seed"),
        ("--force", "force"),
        ("--dry-run", "dry_run"),
        ("--reports-only", "reports_only"),
        ("--boilerplate-only", "boilerplate_only"),
        ("--md-only-boilerplate", "md_only_boilerplate"),
        ("--md_only_boilerplate", "md_only_boilerplate"),
        ("--stop-on-first-crash", "stop_on_first_crash"),
        ("--resource-monitor", "resource_monitor"),
        ("--skip-bids-validation", "skip_bids_validation"),
        ("--skip_bids_validation", "skip_bids_validation"),
        ("--skip-bids-validator", "skip_bids_validation"),
        ("--skip_bids_validator", "skip_bids_validation"),
        ("--notrack", "notrack"),
    ],
)
def test_spellings_of_wrappers_are_accepted(spelling: str, field: str) -> None:
    assert getattr(parse([*BASE, spelling]), field) != getattr(parse(BASE), field)


def test_amounts_of_memory_agree() -> None:
    assert {
        settings(*arguments).execution.mem for arguments in (["--mem", "8G"], ["--mem-gb", "8"], ["--mem", "8000"])
    } == {8000}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["in", "out", "third"], 17),
        (["in"], 64),
        (["in", "out", "participant", "--no-such-option"], 64),
        (["in", "out", "participant", "--part", "01"], 64),
        (["in", "out", "participant", "--mem", "much"], 64),
        (["in", "out", "participant", "--nprocs", "0"], 64),
        (["same", "same", "participant"], 73),
        (["in", "out", "participant", "--work-dir", "in/work"], 64),
        (["nowhere", "out", "participant"], 66),
        (["in", "out", "participant", "--config-file", "nowhere.toml"], 64),
        (["in", "out", "participant", "--run-uuid", "../up"], 64),
        (["in", "out", "participant", "--threshold", "motion=1,2"], 64),
        (["in", "out", "participant", "--rois", "nosuch"], 64),
        (["in", "out", "participant", "--rois", "alps", "alps"], 64),
        (["in", "out", "participant", "--rois", "nowhere.nii.gz"], 66),
        (["in", "out", "participant", "--roi-radius", "50"], 64),
        (["in", "out", "participant", "--atlas", "nowhere.nii.gz"], 66),
        (["in", "out", "participant", "--atlas", "alps"], 64),
        (["in", "out", "participant", "--rois", "alps.sh", "--atlas", "seg-alpssh_dseg.nii.gz"], 64),
        (["in", "out", "participant", "--atlas-threshold", "2"], 64),
        (["in", "out", "participant", "--registrar", "nosuch"], 64),
    ],
)
def test_exit_code_and_last_line_agree(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"bids-alps finished with errors (exit code {code})."
    assert len(said.err.splitlines()) == 1


def test_a_dataset_without_description_is_not_bids(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert run(tmp_path / "in", tmp_path / "out", "participant") == 16


def test_filters_without_a_match_are_reported(dataset: Path, tmp_path: Path) -> None:
    assert run(dataset, tmp_path / "out", "participant", "--participant-label", "02") == 18
    assert run(dataset, tmp_path / "out", "participant", "--dry-run") == 18
    assert run(dataset, tmp_path / "out", "participant", "--skip-bids-validation") == 18


def test_failed_runs_are_reported_and_kept(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("run-1", "run-2"):
        (dataset / f"sub-01/dwi/sub-01_{name}_dwi.nii.gz").symlink_to("nowhere")
    assert run(dataset, tmp_path / "out", "participant", "--skip-bids-validation") == 66
    out = capsys.readouterr().out
    assert "2 of 2 runs failed" in out
    assert "datalad get" in out
    crashes = sorted(path.name for path in (tmp_path / "out/logs/sub-01").glob("*/crash-*.txt"))
    assert crashes == ["crash-sub-01_run-1.txt", "crash-sub-01_run-2.txt"]
    (summary,) = (tmp_path / "out/logs").glob("summary-*.tsv")
    assert [line.split("\t")[:2] for line in summary.read_text().splitlines()[1:]] == [
        ["sub-01_run-1", "66"],
        ["sub-01_run-2", "66"],
    ]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_an_unwritable_output_is_reported(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert run(dataset, tmp_path / "locked/out", "participant", "--skip-bids-validation") == 73


def test_output_below_a_file_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(dataset, tmp_path / "file/out", "participant", "--skip-bids-validation") == 73


def test_plan_names_every_file(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "sub-01/dwi/sub-01_dwi.nii.gz").write_bytes(b"")
    assert run(dataset, tmp_path / "out", "participant", "--dry-run") == 65
    assert "sub-01: skipped." in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_labels_can_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("sub-01\n02\n")
    assert read_labels([f"@{tmp_path / 'labels.txt'}", "03"]) == ("sub-01", "02", "03")
    with pytest.raises(UsageError, match="cannot be read"):
        read_labels(["@nowhere"])


def test_a_label_is_not_read_as_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("01").write_text("02\n")
    assert read_labels(["01"]) == ("01",)


@pytest.mark.parametrize("option", ["--participant-label", "--session-label"])
def test_labels_with_commas_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=rf"{option} 01,02: labels are separated by commas. Separate them by spaces"):
        settings(option, "01,02")


@pytest.mark.parametrize(
    "option",
    ["--fs-license-file=x", "--fs_no_reconall", "--output-spaces", "--use-syn-sdc", "--force-syn", "--recon-spec"],
)
def test_inapplicable_options_of_other_apps_are_refused_with_a_reason(option: str) -> None:
    with pytest.raises(UsageError, match="an option of other BIDS Apps that does not apply here: "):
        settings(option)


def test_options_of_other_apps_mean_the_same() -> None:
    assert settings().method.combine_runs is None
    assert settings("--combine-runs").method.combine_runs is True
    assert settings("--separate-all-dwis").method.combine_runs is False
    assert settings_from([*BASE, "--debug", "all"])[2] == 2
    assert settings_from(["in", "out", "participant", "--output-layout", "bids", "--clean-workdir"])[1] is not None
    with pytest.raises(UsageError, match="invalid choice: 'legacy'"):
        settings("--output-layout", "legacy")


def test_the_json_plan_equals_the_text(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_run(dataset, "sub-01_run-1")
    put_run(dataset, "sub-01_run-2", bvals="0" + " 1000" * 6)
    assert run(dataset, tmp_path / "out", "participant", "--dry-run=json") == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["run"], first["state"], first["fit"]) == ("sub-01_run-1", "due", "1 at b = 0, 7 at b = 1000")
    assert first["field"] == "none: no fieldmap and no image with opposite phase encoding"
    assert (second["run"], second["state"], second["exit_code"]) == ("sub-01_run-2", "skipped", 65)
    assert run(dataset, tmp_path / "out", "participant", "--dry-run") == 1
    text = capsys.readouterr().out
    assert "  fit       1 at b = 0, 7 at b = 1000\n" in text
    assert f"sub-01_run-2: skipped. {second['reason']}\n" in text


def test_runs_that_cannot_be_fitted_are_not_planned(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_run(dataset, "sub-01", bvals="0 1000 1000 1000 1000 1000 2000 2000")
    assert run(dataset, tmp_path / "out", "participant", "--dry-run") == 65
    assert "sub-01: skipped. gradients: 5 non-collinear directions" in capsys.readouterr().out


def put_run(dataset: Path, name: str, bvals: str = "0" + " 1000" * 7) -> None:
    vectors = np.random.default_rng(0).normal(size=(8, 3))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    stem = dataset / "sub-01/dwi" / f"{name}_dwi"
    stem.with_name(f"{stem.name}.nii.gz").write_bytes(
        nifti_bytes(SpatialMap(data=np.ones((4, 4, 4, 8)), affine=np.eye(4)))
    )
    stem.with_name(f"{stem.name}.bval").write_text(bvals)
    np.savetxt(stem.with_name(f"{stem.name}.bvec"), vectors, fmt="%.6f")


def test_the_command_line_takes_precedence_over_the_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("nprocs = 3\n[method]\nroi-radius = 4.0\nshells = [1000, 2000]\npose_correction = false\n")
    chosen = settings("--config-file", str(path), "--roi-radius", "5")
    assert chosen.execution.nprocs == 3
    assert chosen.method.roi_radius == 5
    assert chosen.method.shells == (1000, 2000)
    assert not chosen.method.pose_correction


def test_settings_survive_a_round_trip_through_toml(tmp_path: Path) -> None:
    chosen = settings("--shells", "1000", "--roi-radius", "4", "--no-pose-correction", "--mem", "8G", "-w", 'a "b"')
    (tmp_path / "c.toml").write_text(as_toml(chosen))
    assert settings("--config-file", str(tmp_path / "c.toml"), "--run-uuid", chosen.execution.run_uuid) == chosen


@pytest.mark.parametrize("level", ["participant", "group"])
@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--threshold", "pitch=nan,1"], 64),
        (["--threshold", "pitch=1,inf"], 64),
        (["--random-seed", "-1"], 64),
        (["--b0-threshold", "-1"], 64),
        (["--b0-threshold", "nan"], 64),
        (["--shells", "nan"], 64),
        (["--shells", "1000", "40"], 64),
        (["--executor", "dask", "--dask-config", "in/dataset_description.json"], 64),
        (["--executor", "dask", "--dask-config", "nowhere.yaml"], 64),
        (["--bids-database-dir", "in/dataset_description.json/db"], 64),
        (["--bids-database-dir", "file/db"], 73),
        (["--work-dir", "file"], 73),
    ],
)
def test_the_plan_refuses_what_a_run_would_refuse(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, options: list[str], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert run(dataset, tmp_path / "out", level, "--skip-bids-validation", "--dry-run", *options) == code
    assert not (tmp_path / "out").exists()


def test_a_file_without_permission_is_reported(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/data/sub-01_dwi.bval")

    monkeypatch.setattr(planning, "plan_participant", denied)
    assert run(dataset, tmp_path / "out", "participant", "--skip-bids-validation") == 66
    message = "/data/sub-01_dwi.bval: permission denied. Give the user that runs bids-alps access to it."
    assert f"sub-01: failed. {message}\n" in capsys.readouterr().out
    (crash,) = (tmp_path / "out/logs/sub-01").glob("*/crash-sub-01.txt")
    assert "Traceback" not in crash.read_text()


@pytest.mark.parametrize("text", ["nprocs = ", "no_such = 1", 'nprocs = "many"', "[method]\nregistrar = true"])
def test_wrong_configuration_is_a_usage_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UsageError):
        parse([*BASE, "--config-file", str(tmp_path / "c.toml")])


@given(st.lists(st.text(max_size=20), max_size=6))
def test_no_command_line_gives_a_traceback(arguments: list[str]) -> None:
    with contextlib.suppress(UsageError, AnalysisLevelError):
        settings_from([text for text in arguments if text not in ("-h", "--help", "--version")])


@given(st.text())
def test_no_configuration_file_gives_a_traceback(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.toml"
        path.write_text(text, encoding="utf-8", errors="replace")
        with contextlib.suppress(UsageError):
            read_config(path)


def test_descriptor_has_every_option_once() -> None:
    described = json.loads(render_descriptor())
    ids = [entry["id"] for entry in described["inputs"]]
    assert len(ids) == len(set(ids))
    assert set(SETTINGS) <= set(ids)
    assert all(entry["value-key"] in described["command-line"] for entry in described["inputs"])


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in POSITIONAL])
def test_every_option_is_read(name: str) -> None:
    texts = (path.read_text() for path in PACKAGE.rglob("*.py") if path.name not in ("settings.py", "arguments.py"))
    assert any(f".{name}" in text for text in texts), f"{name} does nothing"


def test_help_names_every_option_with_its_default() -> None:
    text = " ".join(make_parser().format_help().split())
    for group in GROUPS.values():
        for setting in fields(group):
            if setting.name not in ("bids_dir", "output_dir"):
                option = f"--{setting.name.replace('_', '-')}"
                entry = text.split(f"{option} ", 1)[1] if f"{option} " in text else text.split(f"{option}, ", 1)[1]
                assert "(default: " in re.split(r" --(?!no-|dry-run=)", entry)[0], option


@pytest.mark.parametrize(
    ("given", "meant"), [("--participant-lable", "--participant-label"), ("--roiradius", "--roi-radius")]
)
def test_the_closest_option_is_suggested(given: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {meant}?"):
        settings(given, "1")


def test_version_needs_no_heavy_library() -> None:
    code = (
        "import sys\nfrom bids_alps.cli import main\n"
        "try: main(['--version'])\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'nibabel', 'pandas', 'matplotlib', 'bids', 'SimpleITK'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert ran.stdout.splitlines() == ["bids-alps 0.1.0", "[]"]


def test_the_descriptor_is_printed_without_processing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bids-exec-spec"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "bids-alps"


@pytest.mark.parametrize(("options", "verbosity"), [([], 0), (["-v"], 1), (["-vv"], 2), (["--verbose"], 1)])
def test_verbosity_is_counted(options: list[str], verbosity: int) -> None:
    assert settings_from([*BASE, *options])[2] == verbosity


def test_notrack_changes_nothing() -> None:
    assert settings("--run-uuid", "x", "--notrack") == settings("--run-uuid", "x")


def finished_run(dataset: Path, out: Path) -> None:
    write_root(out, dataset)
    sentence = {"stage": "start", "text": "The index of {n:g} volumes.", "values": {"n": 8}}
    receipt = out / "logs/sub-01/sub-01_desc-receipt_dwi.json"
    receipt.parent.mkdir(parents=True)
    receipt.write_text(json.dumps({"methods": [sentence]}))


def test_the_boilerplate_can_be_markdown_only(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished_run(dataset, out)
    arguments = (dataset, out, "participant", "--skip-bids-validation", "--boilerplate-only")
    for options, extensions in (((), [".bib", ".html", ".md"]), (("--md-only-boilerplate",), [".md"])):
        assert run(*arguments, *options) == 0
        assert sorted(path.suffix for path in (out / "logs").glob("CITATION.*")) == extensions


def test_the_boilerplate_describes_what_ran(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = (dataset, out, "participant", "--skip-bids-validation", "--boilerplate-only")
    assert run(*arguments) == 66
    assert "no finished run, so there is no methods text to write" in capsys.readouterr().err
    assert not out.exists()
    finished_run(dataset, out)
    assert run(*arguments) == 0
    assert "The index of 8 volumes." in (out / "logs/CITATION.md").read_text()
    assert not list(out.glob("sub-*"))


def test_an_invalid_dataset_is_refused_unless_validation_is_skipped(dataset: Path, tmp_path: Path) -> None:
    if find_validator() is None:
        pytest.skip("bids-validator-deno is not installed")
    (dataset / "nonsense.txt").write_text("no file of BIDS\n")
    assert run(dataset, tmp_path / "out", "participant") == 18  # a stray file is a warning
    (dataset / "dataset_description.json").write_text('{"BIDSVersion": "1.8.0"}')
    assert run(dataset, tmp_path / "out", "participant") == 16
    assert run(dataset, tmp_path / "out", "participant", "--skip-bids-validation") == 18


def test_startup_takes_little_cpu_time(dataset: Path, tmp_path: Path) -> None:
    """What a plan imports: none of the libraries that take seconds."""
    code = (
        "import sys\nfrom bids_alps.cli import main\n"
        f"main([{str(dataset)!r}, {str(tmp_path / 'out')!r}, 'participant', '--dry-run'])\n"
        "print(sorted({'matplotlib', 'dipy', 'templateflow'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_plan_of_a_dataset_like_bids_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables at the root, participant, session and image level; run-1 next to no run; part-mag and -phase."""
    series = nifti_bytes(SpatialMap(data=np.ones((2, 2, 2, 8)), affine=np.eye(4)))
    vectors = np.random.default_rng(0).normal(size=(3, 8))
    np.savetxt(tmp_path / "bvec", vectors / np.linalg.norm(vectors, axis=0), fmt="%.6f")
    tables = {"bval": "0" + " 1000" * 7, "bvec": (tmp_path / "bvec").read_text()}
    root = tmp_path / "in"
    images = {
        "sub-01/dwi/sub-01_dwi": "dwi",
        "sub-02/dwi/sub-02_acq-a_dwi": "sub-02/sub-02_acq-a_dwi",
        "sub-03/ses-1/dwi/sub-03_ses-1_dwi": "sub-03/ses-1/sub-03_ses-1_dwi",
        "sub-04/dwi/sub-04_dwi": "sub-04/dwi/sub-04_dwi",
        "sub-04/dwi/sub-04_run-1_dwi": "sub-04/dwi/sub-04_run-1_dwi",
        "sub-05/dwi/sub-05_part-mag_dwi": "dwi",
    }
    for image, table in [*images.items(), ("sub-05/dwi/sub-05_part-phase_dwi", "dwi")]:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{image}.nii.gz").write_bytes(series)
        for extension, text in tables.items():
            (root / f"{table}.{extension}").write_text(text)
    (root / "dataset_description.json").write_text('{"Name": "examples", "BIDSVersion": "1.8.0"}')
    assert run(root, tmp_path / "out", "participant", "--dry-run") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    chosen = {kind: [line[1] for line in lines if line[0] == kind] for kind in ("image", "bval", "bvec")}
    assert chosen["image"] == [str(root / f"{image}.nii.gz") for image in images]
    for extension in ("bval", "bvec"):
        assert chosen[extension] == [str(root / f"{table}.{extension}") for table in images.values()]
