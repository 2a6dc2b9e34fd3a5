"""Filter files have the same meaning as in fMRIPrep."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bids.layout import BIDSLayout, BIDSLayoutIndexer, Query

from bids_alps.errors import UsageError
from bids_alps.io.indexing import Index, open_index
from bids_alps.io.queries import QUERIES, Selection, read_filters

pytestmark = pytest.mark.filterwarnings("default")  # pybids leaves its databases open

RUNS = ("ses-1_acq-b1000_run-01", "ses-1_acq-b1000_run-02", "ses-1_acq-b1000_run-02_part-phase", "ses-2_dir-AP")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dataset")
    (root / "dataset_description.json").write_text('{"Name": "a dataset", "BIDSVersion": "1.8.0"}')
    for name in (*(f"dwi/sub-01_{run}_dwi" for run in RUNS), "anat/sub-01_ses-1_T1w", "anat/sub-01_ses-2_T1w"):
        path = root / f"sub-01/{name.split('_')[1]}/{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        path.with_name(path.name.replace("nii.gz", "json")).write_text(json.dumps({"EchoTime": 0.08}))
    return root


@pytest.fixture(scope="module")
def index(root: Path) -> Iterator[Index]:
    with open_index(root, ["01"]) as opened:
        yield opened


def found(index: Index, selection: Selection, kind: Any = "dwi") -> list[str]:
    return [path.name.removeprefix("sub-01_").rpartition("_")[0] for path in selection.find(index, "01", kind)]


def selected(tmp_path: Path, **filters: Any) -> Selection:
    (tmp_path / "filters.json").write_text(json.dumps(filters))
    return Selection(filters=read_filters(tmp_path / "filters.json"))


MAGNITUDES = [run for run in RUNS if "phase" not in run]
FIRST = MAGNITUDES[:2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({}, MAGNITUDES),
        ({"session": "1"}, FIRST),
        ({"session": ["2", "3"]}, MAGNITUDES[2:]),
        ({"run": 2}, FIRST[1:]),
        ({"run": "2"}, FIRST[1:]),
        ({"run": "02"}, FIRST[1:]),
        ({"run": [1, None]}, [FIRST[0], MAGNITUDES[2]]),
        ({"acquisition": None}, MAGNITUDES[2:]),
        ({"acquisition": "*"}, FIRST),
        ({"direction": "Query.OPTIONAL"}, MAGNITUDES),
        ({"direction": "<Query.NONE: 1>"}, FIRST),
        ({"acquisition": "b1.*", "regex_search": True}, FIRST),
        ({"acquisition": "b1.*"}, []),
        ({"part": "phase"}, []),
        ({"suffix": "bold"}, []),
        ({"EchoTime": 0.08}, MAGNITUDES),
        ({"EchoTime": 0.1}, []),
        ({"NoSuchField": 1}, []),
        ({"NoSuchField": None}, MAGNITUDES),
    ],
)
def test_a_filter_selects_the_same_files_as_pybids(
    root: Path, index: Index, tmp_path: Path, wanted: dict[str, Any], taken: list[str]
) -> None:
    selection = selected(tmp_path, dwi=wanted, bold={"task": "rest"})
    assert found(index, selection) == taken
    layout = BIDSLayout(root, validate=False, indexer=BIDSLayoutIndexer(validate=False))
    query = {**QUERIES["dwi"], **selection.filters.get("dwi", {}), "extension": ".nii.gz"}
    theirs = {Path(path).name for path in layout.get(return_type="filename", invalid_filters="allow", **query)}
    assert {f"sub-01_{name}_dwi.nii.gz" for name in taken} == {name for name in theirs if "phase" not in name}


def test_filter_of_one_kind_leaves_the_others_alone(index: Index, tmp_path: Path) -> None:
    selection = selected(tmp_path, t1w={"session": "2"})
    assert found(index, selection) == MAGNITUDES
    assert found(index, selection, "t1w") == ["ses-2"]


def test_labels_and_filters_are_combined(index: Index, tmp_path: Path) -> None:
    assert found(index, Selection(sessions=("1",), runs=(2,))) == FIRST[1:]
    narrowed = Selection(sessions=("2",), filters=selected(tmp_path, dwi={"session": "1"}).filters)
    assert found(index, narrowed) == []


def test_keys_of_other_programs_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "filter.json"
    path.write_text('{"dwi": {"session": null}, "bold": {"task": "rest"}}')
    assert read_filters(path) == {"dwi": {"session": Query.NONE}}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"dwi": 1}',
        '{"dwi": {"run": {"a": 1}}}',
        '{"dwi": {"return_type": "id"}}',
        '{"t1w": {"run": [[1]]}}',
        '{"dwi": {"run": "(", "regex_search": true}}',
    ],
)
def test_malformed_filter_file_is_a_usage_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "filter.json"
    path.write_text(text)
    with pytest.raises(UsageError):
        read_filters(path)


@pytest.mark.parametrize("wanted", [{"sesion": "1"}, {"acq": "b1000"}])
def test_a_filter_unknown_to_pybids_is_a_usage_error(index: Index, tmp_path: Path, wanted: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="dwi"):
        selected(tmp_path, dwi=wanted).find(index, "01", "dwi")
