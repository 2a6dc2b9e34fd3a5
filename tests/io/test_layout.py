from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import nifti_bytes

from bids_alps.errors import InvalidBidsError, NothingSelectedError
from bids_alps.io.layout import ExcludedRun, UnusableRun, find_participants, find_runs
from bids_alps.io.queries import Selection
from bids_alps.model import DwiRun, SpatialMap

SERIES = nifti_bytes(SpatialMap(data=np.ones((2, 2, 2, 7)), affine=np.eye(4)))
BVALS = "0 1000 1000 1000 1000 1000 1000\n"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "dataset_description.json").write_text('{"Name": "a dataset", "BIDSVersion": "1.8.0"}')
    return tmp_path


def put(root: Path, *names: str, content: bytes | str = SERIES) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def put_run(root: Path, stem: str, **sidecar: object) -> None:
    put(root, f"{stem}.nii.gz")
    put(root, f"{stem}.bval", f"{stem}.bvec", content=BVALS)
    put(root, f"{stem}.json", content=json.dumps(sidecar))


def runs_of(root: Path, selection: Selection | None = None, *, preprocessed: bool = False) -> dict[str, DwiRun]:
    found = find_runs(root, "01", selection, preprocessed=preprocessed)
    assert not [run for run in found if isinstance(run, UnusableRun)]
    return {run.name: run for run in found if isinstance(run, DwiRun)}


def test_a_b0_series_is_not_a_run_if_its_session_has_one(dataset: Path) -> None:
    for session in "12":
        put_run(dataset, f"sub-01/ses-{session}/dwi/sub-01_ses-{session}_dir-PA_dwi")
        put(dataset, f"sub-01/ses-{session}/dwi/sub-01_ses-{session}_dir-PA_dwi.bval", content="0 0 0 5 5 5 5\n")
    put_run(dataset, "sub-01/ses-1/dwi/sub-01_ses-1_dir-AP_dwi")
    single = nifti_bytes(SpatialMap(data=np.ones((2, 2, 2)), affine=np.eye(4)))
    put(dataset, "sub-01/ses-1/dwi/sub-01_ses-1_dir-PA_run-2_dwi.nii.gz", content=single)
    found = {run.name: type(run) for run in find_runs(dataset, "01")}
    assert found == {
        "sub-01_ses-1_dir-AP": DwiRun,
        "sub-01_ses-1_dir-PA": ExcludedRun,
        "sub-01_ses-1_dir-PA_run-2": ExcludedRun,
        "sub-01_ses-2_dir-PA": DwiRun,  # it will say that it holds no weighting
    }
    found = {run.name: type(run) for run in find_runs(dataset, "01", b0_threshold=0)}
    assert found["sub-01_ses-1_dir-PA"] is DwiRun


def test_a_weighted_series_is_a_run_although_a_fieldmap_has_its_entities(dataset: Path) -> None:
    for direction in ("AP", "PA"):
        put_run(dataset, f"sub-01/dwi/sub-01_dir-{direction}_dwi")
    single = nifti_bytes(SpatialMap(data=np.ones((2, 2, 2)), affine=np.eye(4)))
    put(dataset, "sub-01/fmap/sub-01_dir-PA_epi.nii.gz", content=single)
    found = {run.name: type(run) for run in find_runs(dataset, "01")}
    assert found == {"sub-01_dir-AP": DwiRun, "sub-01_dir-PA": DwiRun}


def problem_of(root: Path) -> UnusableRun:
    (problem,) = (run for run in find_runs(root, "01") if isinstance(run, UnusableRun))
    return problem


@pytest.mark.slow
@pytest.mark.parametrize("place", ["", "sub-01/", "sub-01/ses-1/", "sub-01/ses-1/dwi/"])
def test_gradient_table_is_inherited_from_any_level(dataset: Path, place: str) -> None:
    put(dataset, "sub-01/ses-1/dwi/sub-01_ses-1_dwi.nii.gz")
    prefix = {"": "", "sub-01/": "sub-01_"}.get(place, "sub-01_ses-1_")
    put(dataset, f"{place}{prefix}dwi.bval", f"{place}{prefix}dwi.bvec", content="0 1 1\n")
    run = runs_of(dataset)["sub-01_ses-1"]
    assert run.bval == dataset / f"{place}{prefix}dwi.bval"
    assert run.bvec == dataset / f"{place}{prefix}dwi.bvec"


def test_a_run_without_an_index_never_uses_the_table_of_run_1(dataset: Path) -> None:
    put_run(dataset, "sub-01/dwi/sub-01_run-1_dwi")
    put(dataset, "sub-01/dwi/sub-01_dwi.nii.gz")
    assert sorted(type(run).__name__ for run in find_runs(dataset, "01")) == ["DwiRun", "UnusableRun"]
    assert "no .bval file" in str(problem_of(dataset).error)


def test_two_tables_at_one_level_are_refused(dataset: Path) -> None:
    put(dataset, "sub-01/dwi/sub-01_acq-a_dir-AP_dwi.nii.gz")
    put(dataset, "acq-a_dwi.bval", "dir-AP_dwi.bval", "dwi.bvec", content="0\n")
    assert "2 .bval files apply" in str(problem_of(dataset).error)


def test_sidecars_are_merged_and_the_closest_takes_precedence(dataset: Path) -> None:
    put_run(dataset, "sub-01/dwi/sub-01_dwi", EchoTime=0.08)
    put(dataset, "dwi.json", content='{"EchoTime": 0.1, "Manufacturer": "X"}')
    assert runs_of(dataset)["sub-01"].metadata == {"EchoTime": 0.08, "Manufacturer": "X"}


@pytest.mark.slow
def test_phase_real_and_imaginary_parts_are_not_runs(dataset: Path) -> None:
    for part in ("mag", "phase", "real", "imag"):
        put_run(dataset, f"sub-01/dwi/sub-01_part-{part}_dwi")
    (run,) = runs_of(dataset).values()
    assert run.image.name == "sub-01_part-mag_dwi.nii.gz"
    assert run.name == "sub-01"


def test_every_run_has_its_own_result(dataset: Path) -> None:
    names = ["ses-1_run-01", "ses-1_run-02", "ses-2", "ses-2_acq-b"]
    for name in names:
        put_run(dataset, f"sub-01/{name[:5]}/dwi/sub-01_{name}_dwi")
    assert sorted(runs_of(dataset)) == sorted(f"sub-01_{name}" for name in names)
    assert list(runs_of(dataset, Selection(sessions=("1",), runs=(2,)))) == ["sub-01_ses-1_run-02"]


def test_a_magnitude_image_next_to_one_without_part_is_refused(dataset: Path) -> None:
    put_run(dataset, "sub-01/dwi/sub-01_dwi")
    put_run(dataset, "sub-01/dwi/sub-01_part-mag_dwi")
    assert "a second image" in str(problem_of(dataset).error)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["nii.gz", "bval", "bvec"])
def test_a_dangling_link_is_an_unusable_run_with_a_remedy(dataset: Path, suffix: str) -> None:
    put_run(dataset, "sub-01/dwi/sub-01_run-1_dwi")
    put_run(dataset, "sub-01/dwi/sub-01_run-2_dwi")
    link = dataset / f"sub-01/dwi/sub-01_run-1_dwi.{suffix}"
    link.unlink()
    link.symlink_to("../../.git/annex/objects/xx")
    assert problem_of(dataset).name == "sub-01_run-1"
    assert f"datalad get {link}" in str(problem_of(dataset).error)


def test_links_to_available_content_are_followed(dataset: Path) -> None:
    """As in a read-only git-annex tree."""
    put_run(dataset, "sub-01/dwi/sub-01_dwi", EchoTime=0.08)
    objects = dataset / ".git/annex/objects"
    objects.mkdir(parents=True)
    for path in sorted((dataset / "sub-01/dwi").iterdir()):
        target = path.rename(objects / path.name)
        target.chmod(0o444)
        path.symlink_to(f"../../.git/annex/objects/{path.name}")
    objects.chmod(0o555)
    run = runs_of(dataset)["sub-01"]
    assert run.image == dataset / "sub-01/dwi/sub-01_dwi.nii.gz"
    assert run.metadata == {"EchoTime": 0.08}
    objects.chmod(0o755)


def test_an_unlocked_annex_pointer_is_reported_with_a_remedy(dataset: Path) -> None:
    put_run(dataset, "sub-01/dwi/sub-01_dwi")
    put(dataset, "sub-01/dwi/sub-01_dwi.nii.gz", content="/annex/objects/MD5E-s1--0.nii.gz\n")
    assert "datalad get" in str(problem_of(dataset).error)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"no image", "cannot be read as NIfTI"),
        (gzip.compress(b"short"), "cannot be read as NIfTI"),
        (gzip.compress(bytes(400)), "cannot be read as NIfTI"),
        (nifti_bytes(SpatialMap(data=np.ones((2, 2, 2)), affine=np.eye(4))), "3-D image"),
    ],
    ids=["empty", "text", "short", "zeros", "3-D"],  # contents hold the time of compression
)
def test_a_file_that_is_not_a_series_is_reported(dataset: Path, content: bytes, message: str) -> None:
    put_run(dataset, "sub-01/dwi/sub-01_dwi")
    put(dataset, "sub-01/dwi/sub-01_dwi.nii.gz", content=content)
    assert message in str(problem_of(dataset).error)


def test_a_header_larger_than_its_file_is_refused(dataset: Path) -> None:
    header = bytearray(gzip.decompress(SERIES)[:352])
    header[40:50] = np.array([4, 2000, 2000, 20, 30], "<i2").tobytes()
    put_run(dataset, "sub-01/dwi/sub-01_dwi")
    put(dataset, "sub-01/dwi/sub-01_dwi.nii.gz", content=gzip.compress(bytes(header)))
    assert "its header implies 9600000000 bytes" in str(problem_of(dataset).error)


def test_malformed_json_affects_its_own_run_only(dataset: Path) -> None:
    put_run(dataset, "sub-01/dwi/sub-01_run-1_dwi")
    put_run(dataset, "sub-01/dwi/sub-01_run-2_dwi")
    put(dataset, "sub-01/dwi/sub-01_run-1_dwi.json", "sub-01/fmap/sub-01_dir-AP_epi.json", content="{")
    put(dataset, "sub-01/fmap/sub-01_dir-AP_epi.nii.gz")
    assert [type(run).__name__ for run in find_runs(dataset, "01")] == ["UnusableRun", "DwiRun"]


@pytest.mark.parametrize("space", ["ACPC", "T1w"])
def test_names_of_qsiprep_are_known(dataset: Path, space: str) -> None:
    put_run(dataset, f"sub-01/ses-1/dwi/sub-01_ses-1_space-{space}_desc-preproc_dwi")
    put(dataset, f"sub-01/ses-1/dwi/sub-01_ses-1_space-{space}_desc-brain_mask.nii.gz")
    put(dataset, "sub-01/anat/sub-01_space-ACPC_desc-preproc_T1w.nii.gz")
    (run,) = runs_of(dataset, preprocessed=True).values()
    assert run.name == f"sub-01_ses-1_space-{space}"
    assert run.preprocessed
    assert run.mask is not None
    assert run.mask.name == f"sub-01_ses-1_space-{space}_desc-brain_mask.nii.gz"
    assert run.t1w is not None


def test_a_world_gradient_table_takes_precedence_over_fsl(dataset: Path) -> None:
    stem = "sub-01/dwi/sub-01_space-ACPC_desc-preproc_dwi"
    put_run(dataset, stem)
    put(dataset, f"{stem}.b", content="0 0 0 0\n")
    (run,) = runs_of(dataset, preprocessed=True).values()
    assert run.bvec == dataset / f"{stem}.b"


def test_a_qsiprep_series_without_a_world_gradient_table_is_refused(dataset: Path) -> None:
    made = {"Name": "q", "BIDSVersion": "1.8.0", "GeneratedBy": [{"Name": "QSIPrep"}]}
    put(dataset, "dataset_description.json", content=json.dumps(made))
    put_run(dataset, "sub-01/dwi/sub-01_space-ACPC_desc-preproc_dwi")
    (problem,) = find_runs(dataset, "01", preprocessed=True)
    assert isinstance(problem, UnusableRun)
    assert "QSIPrep, whose .bvec is not in FSL convention" in str(problem.error)


def test_the_closest_transform_in_the_space_of_the_run_is_used(dataset: Path) -> None:
    put_run(dataset, "sub-01/ses-1/dwi/sub-01_ses-1_space-ACPC_desc-preproc_dwi")
    name = "from-{}_to-{}_mode-image_xfm"
    put(
        dataset,
        f"sub-01/anat/sub-01_{name.format('ACPC', 'A')}.h5",
        f"sub-01/anat/sub-01_{name.format('ACPC', 'B')}.h5",
    )
    put(dataset, f"sub-01/ses-1/anat/sub-01_ses-1_{name.format('ACPC', 'B')}.h5")
    put(dataset, f"sub-01/ses-2/anat/sub-01_ses-2_{name.format('ACPC', 'C')}.h5")
    put(
        dataset, f"sub-01/anat/sub-01_{name.format('T1w', 'D')}.h5", f"sub-01/anat/sub-01_{name.format('A', 'ACPC')}.h5"
    )
    put(dataset, *(f"sub-01/anat/sub-01_{name.format('ACPC', 'E')}.{kind}" for kind in ("h5", "txt")))
    (run,) = runs_of(dataset, preprocessed=True).values()
    assert {template: path.name[:12] for template, path in run.transforms.items()} == {
        "A": "sub-01_from-",
        "B": "sub-01_ses-1",
    }


def test_the_first_of_repeated_t1w_images_is_used_and_none_of_two_protocols(dataset: Path) -> None:
    put_run(dataset, "sub-01/dwi/sub-01_dwi")
    put(dataset, "sub-01/anat/sub-01_run-1_T1w.nii.gz", "sub-01/anat/sub-01_run-2_T1w.nii.gz")
    t1w = runs_of(dataset)["sub-01"].t1w
    assert t1w is not None
    assert t1w.name == "sub-01_run-1_T1w.nii.gz"
    put(dataset, "sub-01/anat/sub-01_rec-norm_T1w.nii.gz")
    assert runs_of(dataset)["sub-01"].t1w is None
    chosen = Selection(filters={"t1w": {"reconstruction": "norm"}})
    assert runs_of(dataset, chosen)["sub-01"].t1w == dataset / "sub-01/anat/sub-01_rec-norm_T1w.nii.gz"


def test_hostile_labels_do_not_leave_the_folder(dataset: Path) -> None:
    put_run(dataset, "sub-01/dwi/sub-01_acq-é_dwi")
    put_run(dataset, "sub-01/dwi/sub-01_acq-a b_dwi")
    found = find_runs(dataset, "01")
    assert ["not a BIDS label" in str(run.error) for run in found if isinstance(run, UnusableRun)] == [True, True]


def test_participants_are_listed_sorted_and_checked(dataset: Path) -> None:
    for name in ("sub-02", "sub-01", "sub-a b", "derivatives"):
        (dataset / name).mkdir()
    assert find_participants(dataset) == ("01", "02")
    assert find_participants(dataset, ["sub-02"]) == ("02",)
    for label in ("03", "a b", "../other/sub-02"):
        with pytest.raises(NothingSelectedError, match=re.escape(f"no folder sub-{label} in")):
            find_participants(dataset, [label])
    (dataset / "dataset_description.json").write_text("[")
    with pytest.raises(InvalidBidsError):
        find_participants(dataset)


@pytest.mark.slow
@pytest.mark.untraced
def test_a_selected_participant_is_not_affected_by_others(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither more folders are looked at nor is the root listed more than once, however many participants there are."""

    def count(labels: list[str]) -> tuple[int, int]:
        looked: list[str] = []
        listed: list[str] = []
        with monkeypatch.context() as patched:
            stat, listdir, scandir = os.stat, os.listdir, os.scandir
            patched.setattr(os, "stat", lambda path, **more: (looked.append(str(path)), stat(path, **more))[1])
            patched.setattr(os, "listdir", lambda path: (listed.append(str(path)), listdir(path))[1])
            patched.setattr(os, "scandir", lambda path: (listed.append(str(path)), scandir(path))[1])
            for label in find_participants(dataset, labels):
                find_runs(dataset, label)
        return len(looked), listed.count(str(dataset))

    put_run(dataset, "sub-01/dwi/sub-01_dwi")
    few, listed = count(["01"])
    assert listed <= 1
    for number in range(30):
        (dataset / f"sub-x{number}").mkdir()
    put_run(dataset, "sub-02/dwi/sub-02_dwi")
    assert count(["01"]) == (few, 1)
    assert count(["01", "02"])[1] == 0  # known by now
    assert count([])[1] == 1  # all participants: one listing for their labels
