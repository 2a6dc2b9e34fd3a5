from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers import nifti_bytes
from hypothesis import given
from hypothesis import strategies as st

from bids_alps.errors import MetadataError, OutputError
from bids_alps.io.derivative_kinds import DERIVATIVES
from bids_alps.io.derivatives import derivative_path, sidecar_of
from bids_alps.io.root import write_root
from bids_alps.io.tables import Column, read_table, write_table
from bids_alps.io.writing import write_if_changed, write_json, write_map, write_text
from bids_alps.model import DwiRun, SpatialMap


def run_of(**entities: str) -> DwiRun:
    return DwiRun(entities=entities, image=Path("i"), bval=Path("b"), bvec=Path("c"))


@pytest.mark.parametrize("key", list(DERIVATIVES))
def test_every_file_stays_in_its_folder(key: str) -> None:
    path = derivative_path(Path("out"), run_of(sub="01", ses="1", run="2"), key, template="T", atlas="A", preset="P")
    assert path.parent == Path("out/sub-01/ses-1/dwi")
    assert path.name.startswith("sub-01_ses-1_run-2_")


@pytest.mark.slow
@given(st.text())
def test_no_label_leads_out_of_the_output(label: str) -> None:
    try:
        path = derivative_path(Path("out"), run_of(sub="01", acq=label), "fa")
    except MetadataError:
        return
    assert path.parent == Path("out/sub-01/dwi")


def test_sidecars_have_the_fields_that_bids_requires() -> None:
    assert all(
        "SkullStripped" in sidecar_of(run_of(sub="01"), key)
        for key, kind in DERIVATIVES.items()
        if kind.extension == ".nii.gz" and kind.suffix in ("dwi", "dwimap")
    )
    assert "SpatialReference" in sidecar_of(run_of(sub="01", space="ACPC"), "fa")
    assert "SpatialReference" not in sidecar_of(run_of(sub="01", space="MNI152NLin2009cAsym"), "fa")


def test_equal_images_give_equal_bytes_and_are_read_back(tmp_path: Path) -> None:
    affine = np.array([[-2, 0.1, 0, 5], [0, 2, 0.3, 6], [0, 0, 2.5, 7], [0, 0, 0, 1]], dtype=float)
    image = SpatialMap(data=np.arange(24.0).reshape(2, 3, 4), affine=affine)
    assert nifti_bytes(image) == nifti_bytes(image)
    write_map(tmp_path / "a.nii.gz", image, sidecar={"Units": "mm"})
    back = nib.Nifti1Image.from_filename(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(back.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(back.get_fdata(), image.data)
    assert json.loads((tmp_path / "a.json").read_text()) == {"Units": "mm"}
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes())[:4] == b"\x5c\x01\0\0"


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match="Permission denied"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unchanged_content_is_not_rewritten(tmp_path: Path) -> None:
    assert write_if_changed(tmp_path / "a", b"1")
    assert not write_if_changed(tmp_path / "a", b"1")
    assert write_if_changed(tmp_path / "a", b"2")


def test_json_has_finite_values_only(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": np.nan, "y": [np.float32(1.5), np.int64(2)], "z": Path("p")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [1.5, 2], "z": "p"}


def test_a_table_is_read_back_with_its_labels_and_missing_values(tmp_path: Path) -> None:
    columns = [
        Column(name=name, description=name, optional=name == "run") for name in ("participant_id", "run", "alps")
    ]
    rows = [{"participant_id": "sub-01", "run": "02", "alps": 1.5}, {"participant_id": "a\tb\nc", "alps": np.nan}]
    write_table(tmp_path / "t.tsv", rows, columns)
    table = read_table(tmp_path / "t.tsv")
    assert next(iter(table["run"])) == "02"
    assert list(table["participant_id"]) == ["sub-01", "a b c"]
    assert table["alps"].isna().tolist() == [False, True]


@pytest.mark.parametrize("row", [{"a": 1, "b": 2}, {}, {"b": 1}])
def test_a_row_with_an_unknown_or_a_missing_value_is_refused(tmp_path: Path, row: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"no (column|value) for"):
        write_table(tmp_path / "t.tsv", [row], [Column(name="a", description="a")])
    assert not (tmp_path / "t.tsv").exists()


def test_root_files_record_the_source_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIDS_ALPS_DOCKER_TAG", "1.0")
    monkeypatch.setenv("BIDS_ALPS_REVISION", "0f" * 20)
    source = {"Name": "q", "DatasetType": "derivative", "GeneratedBy": [{"Name": "QSIPrep"}]}
    write_json(tmp_path / "in/dataset_description.json", source)
    write_root(tmp_path / "out", tmp_path / "in")
    described = json.loads((tmp_path / "out/dataset_description.json").read_text())
    assert [one["Name"] for one in described["GeneratedBy"]] == ["bids-alps", "QSIPrep"]
    assert described["GeneratedBy"][0]["Container"]["Tag"] == "bids/alps:1.0"
    assert described["GeneratedBy"][0]["CodeURL"].endswith("/tree/" + "0f" * 20)
    assert "figures\n" in (tmp_path / "out/.bidsignore").read_text()
    assert set(read_table(tmp_path / "out/seg-alps_dseg.tsv")["index"]) == {1, 2, 3, 4, 5, 6}


def test_a_shared_file_of_another_owner_is_kept_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_root(tmp_path / "out", tmp_path)
    (tmp_path / "out/README.md").write_text("of somebody else")
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if Path(target).name == "README.md":
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    write_root(tmp_path / "out", tmp_path)
    assert "README.md: cannot be written (Permission denied)" in caplog.text
    assert "The file was kept." in caplog.text
    assert (tmp_path / "out/README.md").read_text() == "of somebody else"
