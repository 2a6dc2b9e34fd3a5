"""The pybids index: queries, and each case in which pybids is wrong and not followed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from bids.layout import BIDSLayout, BIDSLayoutIndexer

from bids_alps.errors import AmbiguityError, MetadataError, OutputError
from bids_alps.io.indexing import Index, open_index
from bids_alps.io.inheritance import merge_sidecars, sidecars_of

pytestmark = pytest.mark.filterwarnings("default")  # pybids leaves its databases open


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "a dataset", "BIDSVersion": "1.8.0"}')
    put(root, "sub-01/dwi/sub-01_dwi.nii.gz")
    put(root, "sub-01/dwi/sub-01_dwi.json", EchoTime=0.08)
    return root


def put(root: Path, name: str, text: str = "", **sidecar: Any) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or json.dumps(sidecar))
    return path


def of_pybids(root: Path, *, metadata: bool = True) -> BIDSLayout:
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=metadata)
    return BIDSLayout(root, validate=False, indexer=indexer)


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.slow
def test_only_the_requested_participant_is_indexed(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(dataset, "sub-01/func/sub-01_task-rest_bold.nii.gz")
    put(dataset, "dwi.json", RepetitionTime=8.0)

    def looked() -> list[str]:
        seen: list[str] = []
        with monkeypatch.context() as patched:
            stat, listdir, scandir = os.stat, os.listdir, os.scandir
            patched.setattr(os, "stat", lambda path, **more: (seen.append(str(path)), stat(path, **more))[1])
            patched.setattr(os, "listdir", lambda path: (seen.append(str(path)), listdir(path))[1])
            patched.setattr(os, "scandir", lambda path: (seen.append(str(path)), scandir(path))[1])
            with open_index(dataset, ["01"]) as index:
                assert names(index.find("01")) == ["sub-01_dwi.nii.gz"]
                assert index.metadata(dataset / "sub-01/dwi/sub-01_dwi.nii.gz")["RepetitionTime"] == 8.0
        return [path for path in seen if path.startswith(str(dataset))]

    alone = looked()
    for number in range(50):
        (dataset / f"sub-x{number}").mkdir()
    assert looked() == alone
    assert alone.count(str(dataset)) <= 3  # one listing, and two looks at its time


def test_several_participants_are_indexed_together(dataset: Path) -> None:
    put(dataset, "sub-02/ses-1/dwi/sub-02_ses-1_dwi.nii.gz")
    with open_index(dataset, ["01", "02", "99"]) as index:
        assert [names(index.find(label)) for label in ("01", "02", "99")] == [
            ["sub-01_dwi.nii.gz"],
            ["sub-02_ses-1_dwi.nii.gz"],
            [],
        ]


def test_metadata_equal_those_of_pybids(dataset: Path) -> None:
    put(dataset, "dwi.json", EchoTime=0.1, Manufacturer="X", SliceTiming=[0.5, 1], Flag=True)
    image = dataset / "sub-01/dwi/sub-01_dwi.nii.gz"
    expected = {"EchoTime": 0.08, "Manufacturer": "X", "SliceTiming": [0.5, 1], "Flag": True}
    with open_index(dataset, ["01"]) as index:
        assert index.has_metadata
        assert index.metadata(image) == expected == merge_sidecars(image, sidecars_of(image, dataset))


def test_pybids_gives_an_image_the_table_of_run_1(dataset: Path) -> None:
    """Why gradient tables are not asked of pybids."""
    put(dataset, "sub-01/dwi/sub-01_run-1_dwi.bval", "0 1000")
    image = dataset / "sub-01/dwi/sub-01_dwi.nii.gz"
    layout = of_pybids(dataset)
    assert layout.get_bval(str(image)).endswith("sub-01_run-1_dwi.bval")
    with pytest.raises(IndexError):
        layout.get_bvec(str(image))


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", ["{", "[1]", '\ufeff{"EchoTime": 1}', '{"run": "second"}', '{"Name": "\\ud800"}', "dangling"]
)
def test_pybids_fails_on_one_malformed_sidecar_without_affecting_others(dataset: Path, content: str) -> None:
    broken = dataset / "sub-01/dwi/sub-01_run-1_dwi.json"
    put(dataset, "sub-01/dwi/sub-01_run-1_dwi.nii.gz")
    if content == "dangling":
        broken.symlink_to("nowhere")
    else:
        put(dataset, "sub-01/dwi/sub-01_run-1_dwi.json", content)
    with pytest.raises((OSError, ValueError, TypeError)):
        of_pybids(dataset)
    with open_index(dataset, ["01"]) as index:
        assert index.has_metadata
        assert index.hidden == {broken}
        assert index.metadata(dataset / "sub-01/dwi/sub-01_dwi.nii.gz") == {"EchoTime": 0.08}
        image = dataset / "sub-01/dwi/sub-01_run-1_dwi.nii.gz"
        if content in ("{", "[1]", "dangling"):
            with pytest.raises(MetadataError):
                index.metadata(image)
        else:
            assert index.metadata(image)


def test_pybids_merges_two_sidecars_of_one_folder(dataset: Path) -> None:
    """The sidecar of another run does not apply to an image with its own sidecar."""
    put(dataset, "sub-01/dwi/sub-01_run-2_dwi.nii.gz")
    put(dataset, "sub-01/dwi/sub-01_run-2_dwi.json", PhaseEncodingDirection="j")
    put(dataset, "sub-01/dwi/sub-01_dwi.json", PhaseEncodingDirection="j-", TotalReadoutTime=0.05)
    image = dataset / "sub-01/dwi/sub-01_run-2_dwi.nii.gz"
    assert "TotalReadoutTime" in of_pybids(dataset).get_metadata(str(image))
    with open_index(dataset, ["01"]) as index:
        assert index.metadata(image) == {"PhaseEncodingDirection": "j"}
        put(dataset, "sub-01/dwi/sub-01_acq-a_run-3_dwi.nii.gz")
    put(dataset, "sub-01/dwi/sub-01_acq-a_dwi.json", EchoTime=0.1)
    with open_index(dataset, ["01"]) as index, pytest.raises(AmbiguityError, match=r"2 .json files apply"):
        index.metadata(dataset / "sub-01/dwi/sub-01_acq-a_run-3_dwi.nii.gz")


@pytest.mark.slow
@pytest.mark.parametrize("above", ["dwi", "sub-99", "run-3/ses-x"])
def test_pybids_reads_entities_from_folders_above_the_dataset(tmp_path: Path, above: str) -> None:
    root = tmp_path / above / "in"
    put(root, "dataset_description.json", '{"Name": "a dataset", "BIDSVersion": "1.8.0"}')
    put(root, "sub-01/anat/sub-01_T1w.nii.gz")
    query = {"subject": "01", "datatype": "anat", "run": None, "session": None}
    assert of_pybids(root).get(**query) == []
    with open_index(root, ["01"]) as index:
        assert names(index.find("01", **{key: value for key, value in query.items() if key != "subject"})) == [
            "sub-01_T1w.nii.gz"
        ]


def test_a_database_covers_all_participants_and_is_used(dataset: Path, tmp_path: Path) -> None:
    put(dataset, "sub-02/func/sub-02_task-rest_bold.nii.gz")
    put(dataset, "sub-02/func/sub-02_task-rest_bold.json", RepetitionTime=2.0)
    put(dataset, "sub-02/func/sub-02_task-other_bold.json", "{")
    for _ in range(2):
        with open_index(dataset, ["01"], database=tmp_path / "db") as index:
            assert names(index.find("01")) == ["sub-01_dwi.nii.gz"]
            assert index.metadata(dataset / "sub-01/dwi/sub-01_dwi.nii.gz") == {"EchoTime": 0.08}
            assert Path(index.layout.connection_manager.database_file).parent.name == "db"
    assert sorted(path.name for path in (tmp_path / "db").iterdir()) == ["layout_index.sqlite"]
    theirs = BIDSLayout(database_path=tmp_path / "db", validate=False)
    (bold,) = theirs.get(suffix="bold", extension=".nii.gz")
    assert theirs.get_metadata(bold.path) == {"RepetitionTime": 2.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["a new image", "an image gone", "another sidecar", "another dataset", "no metadata"]
)
def test_an_outdated_database_is_detected_and_the_disk_is_read(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    if change == "no metadata":
        of_pybids(dataset, metadata=False).save(tmp_path / "db")
    with open_index(dataset, ["01"], database=tmp_path / "db"):
        pass
    image = dataset / "sub-01/dwi/sub-01_dwi.nii.gz"
    if change == "a new image":
        put(dataset, "sub-01/fmap/sub-01_dir-PA_epi.nii.gz")
    elif change == "an image gone":
        put(dataset, "sub-01/anat/sub-01_T1w.nii.gz")
        image.unlink()
    elif change == "another sidecar":
        later = (tmp_path / "db/layout_index.sqlite").stat().st_mtime + 5
        os.utime(put(dataset, "sub-01/dwi/sub-01_dwi.json", EchoTime=0.1), (later, later))
    elif change == "another dataset":
        dataset = dataset.rename(tmp_path / "moved")
        image = dataset / "sub-01/dwi/sub-01_dwi.nii.gz"
    with open_index(dataset, ["01"], database=tmp_path / "db") as index:
        assert isinstance(index, Index)
        assert [path for path in index.find("01", suffix="dwi") if not path.exists()] == []
        if image.exists():
            assert index.metadata(image)["EchoTime"] == (0.1 if change == "another sidecar" else 0.08)
    assert "indexing from disk instead" in caplog.text


def test_a_file_that_is_not_a_database_is_reported(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "db/layout_index.sqlite", "no database")
    with open_index(dataset, ["01"], database=tmp_path / "db") as index:
        assert names(index.find("01")) == ["sub-01_dwi.nii.gz"]
    assert "cannot be opened as a pybids database" in caplog.text


def test_an_unwritable_database_is_reported(dataset: Path, tmp_path: Path) -> None:
    put(tmp_path, "file", "x")
    with pytest.raises(OutputError), open_index(dataset, ["01"], database=tmp_path / "file/db"):
        pass
