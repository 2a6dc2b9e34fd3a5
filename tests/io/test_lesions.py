from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bids_alps.errors import AmbiguityError, ImageError, MetadataError, NoInputError, TemplateMissingError
from bids_alps.io import lesions
from bids_alps.io.lesions import find_lesions, read_lesions
from bids_alps.io.templates import read_template
from bids_alps.io.writing import write_map
from bids_alps.model import DwiRun, LesionMask, SpatialMap

TEMPLATE = "MNI152NLin2009aSym"


def run_of(**entities):
    return DwiRun(entities={"sub": "01", **entities}, image=Path("a"), bval=Path("b"), bvec=Path("c"))


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 400)
    return root


@pytest.mark.parametrize(
    ("name", "run", "space"),
    [
        ("sub-01/dwi/sub-01_label-lesion_mask.nii.gz", run_of(), "dwi"),
        ("sub-01/dwi/sub-01_label-lesion_mask.nii", run_of(run="2"), "dwi"),
        ("sub-01/anat/sub-01_space-dwi_label-lesion_mask.nii.gz", run_of(dir="AP"), "dwi"),
        ("sub-01/anat/sub-01_space-ACPC_label-lesion_mask.nii.gz", run_of(space="ACPC"), "dwi"),
        ("sub-01/dwi/sub-01_run-2_desc-x_label-lesion_mask.nii.gz", run_of(run="2"), "dwi"),
        ("sub-01/ses-1/anat/sub-01_ses-1_space-A_label-lesion_mask.nii.gz", run_of(ses="1"), "A"),
        (f"sub-01/anat/sub-01_acq-x_space-{TEMPLATE}_label-lesion_mask.nii.gz", run_of(), TEMPLATE),
    ],
)
def test_the_file_name_gives_the_owner_and_the_space_of_a_mask(tmp_path, name, run, space):
    assert find_lesions(put(tmp_path, name), run) == LesionMask(path=tmp_path / name, space=space)


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("sub-02/dwi/sub-02_label-lesion_mask.nii.gz", run_of()),
        ("sub-01/dwi/sub-01_label-lesion_mask.nii.gz", run_of(ses="1")),
        ("sub-01/dwi/sub-01_run-2_label-lesion_mask.nii.gz", run_of(run="1")),
        ("sub-01/dwi/sub-01_label-brain_mask.nii.gz", run_of()),
        ("sub-01/dwi/sub-01_label-lesion_probseg.nii.gz", run_of()),
        ("sub-01/dwi/sub-01_label-lesion_mask.json", run_of()),
    ],
)
def test_files_of_other_runs_are_not_used(tmp_path, name, run):
    assert find_lesions(put(tmp_path, name), run) == LesionMask()


@pytest.mark.parametrize(
    ("name", "t1w"),
    [
        ("sub-01_label-lesion_mask.nii.gz", None),
        ("sub-01_space-T1w_label-lesion_mask.nii.gz", "sub-01_space-ACPC_desc-preproc_T1w.nii.gz"),
        ("sub-01_space-FLAIR_label-lesion_mask.nii.gz", "sub-01_T1w.nii.gz"),
    ],
)
def test_a_mask_on_an_unregistered_anatomical_image_needs_t1w_aligned(tmp_path, name, t1w):
    put(tmp_path, f"sub-01/anat/{name}")
    run = replace(run_of(), t1w=None if t1w is None else Path(t1w))
    with pytest.raises(MetadataError, match="use --t1w-aligned"):
        find_lesions(tmp_path, run)
    assert find_lesions(tmp_path, run, t1w_aligned=True).space in ("T1w", "FLAIR")


def test_a_mask_on_the_t1w_of_the_run_is_used(tmp_path):
    put(tmp_path, "sub-01/anat/sub-01_space-T1w_label-lesion_mask.nii.gz")
    assert find_lesions(tmp_path, replace(run_of(), t1w=Path("sub-01_rec-norm_T1w.nii.gz"))).space == "T1w"


def test_two_masks_are_ambiguous(tmp_path):
    put(tmp_path, "sub-01/dwi/sub-01_label-lesion_mask.nii.gz", "sub-01/anat/sub-01_space-A_label-lesion_mask.nii.gz")
    with pytest.raises(AmbiguityError, match=r"2 lesion masks.*Keep one"):
        find_lesions(tmp_path, run_of())


def test_content_that_was_not_fetched_is_reported(tmp_path):
    path = tmp_path / "sub-01/dwi/sub-01_label-lesion_mask.nii.gz"
    path.parent.mkdir(parents=True)
    path.symlink_to("nowhere")
    with pytest.raises(NoInputError, match="datalad get"):
        find_lesions(tmp_path, run_of())


def write_mask(path, data, *, dtype=np.float32):
    write_map(path, SpatialMap(data=data, affine=np.diag([2.0, 2, 2, 1])), sidecar={}, dtype=dtype)
    return path


@pytest.mark.parametrize("value", [0.4, 2, 255, -1, np.nan])
def test_values_other_than_0_and_1_are_refused(tmp_path, value):
    data = np.zeros((4, 4, 4))
    data[1, 2, 3], data[0] = value, 1
    with pytest.raises(ImageError, match=r"other than 0 and 1 \(such as"):
        read_lesions(write_mask(tmp_path / "m.nii.gz", data), "dwi", template=read_template())


@pytest.mark.parametrize("value", [0, 1])
def test_empty_and_full_masks_are_accepted(tmp_path, value):
    data = np.full((4, 4, 4), value)
    read = read_lesions(write_mask(tmp_path / "m.nii.gz", data), "T1w", template=read_template())
    assert (read.data == value).all()


def test_a_mask_in_another_template_is_transformed(tmp_path, monkeypatch):
    path = tmp_path / f"tpl-{TEMPLATE}_from-Other_mode-image_xfm.tfm"
    sitk.WriteTransform(sitk.TranslationTransform(3, (-10.0, 0.0, 4.0)), str(path))  # LPS+
    wanted = {(TEMPLATE, "Other"): path}
    monkeypatch.setattr(lesions, "find_transform", lambda *, template, source: wanted.get((template, source)))
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -40
    data = np.zeros((40, 40, 40))
    data[10:14, 20:26, 18:24] = 1
    mask = SpatialMap(data=data, affine=affine)
    write_map(tmp_path / "m.nii.gz", mask, sidecar={}, dtype=np.uint8)
    carried = read_lesions(tmp_path / "m.nii.gz", "Other", template=read_template())
    center, there = (image.world(np.argwhere(image.data)).mean(axis=0) for image in (mask, carried))
    np.testing.assert_allclose(there, center - [10, 0, 4], atol=0.51)  # the file leads to Other, +10 in x of RAS+
    assert carried.data.sum() * abs(np.linalg.det(carried.affine)) == pytest.approx(data.sum() * 8, rel=0.02)


def test_a_space_without_a_transform_to_the_template_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lesions, "find_transform", lambda **_: None)
    path = write_mask(tmp_path / "m.nii.gz", np.zeros((3, 3, 3)))
    with pytest.raises(TemplateMissingError, match="in Other by its name"):
        read_lesions(path, "Other", template=read_template())
