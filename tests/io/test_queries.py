from __future__ import annotations

from pathlib import Path

import pytest

from bids_alps.errors import UsageError
from bids_alps.io.queries import Selection, read_filters

IMAGE = Path("sub-01/ses-1/dwi/sub-01_ses-1_acq-b1000_run-02_dwi.nii.gz")


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({"session": "1"}, True),
        ({"session": ["2", "ses-1"]}, True),
        ({"session": "2"}, False),
        ({"run": 2}, True),
        ({"run": "002"}, True),
        ({"acquisition": None}, False),
        ({"direction": None}, True),
        ({"acquisition": "*"}, True),
        ({"direction": "*"}, False),
        ({"direction": "Query.OPTIONAL"}, True),
        ({"suffix": "dwi", "datatype": "dwi"}, True),
        ({"acq": "b2000"}, False),
    ],
)
def test_filters_follow_the_names_that_bids_apps_share(wanted: dict[str, object], taken: bool) -> None:
    assert Selection(filters={"dwi": wanted}).takes(IMAGE) is taken


def test_filter_of_one_kind_leaves_the_others_alone() -> None:
    selection = Selection(filters={"t1w": {"session": "2"}})
    assert selection.takes(IMAGE)
    assert not selection.passes(IMAGE, "t1w")


def test_unknown_keys_of_a_filter_file_are_for_others(tmp_path: Path) -> None:
    path = tmp_path / "filter.json"
    path.write_text('{"dwi": {"session": "1"}, "bold": {"task": "rest"}}')
    assert read_filters(path) == {"dwi": {"session": "1"}}


@pytest.mark.parametrize("text", ["{", "[]", '{"dwi": 1}'])
def test_malformed_filter_file_is_a_usage_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "filter.json"
    path.write_text(text)
    with pytest.raises(UsageError):
        read_filters(path)
