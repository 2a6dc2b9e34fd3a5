from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bids_alps.errors import InvalidBidsError
from bids_alps.io.validation import find_validator, validate_dataset

pytestmark = pytest.mark.skipif(find_validator() is None, reason="bids-validator-deno is not installed")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "sub-01/dwi").mkdir(parents=True)
    (tmp_path / "sub-01/dwi/sub-01_dwi.nii.gz").symlink_to("nowhere")
    (tmp_path / "README").write_text("A dataset.\n")
    (tmp_path / "dataset_description.json").write_text('{"Name": "a dataset", "BIDSVersion": "1.8.0"}')
    return tmp_path


@pytest.mark.slow
def test_error_of_one_participant_is_a_warning(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        validate_dataset(dataset)
    assert "SYMLINK_BROKEN" in caplog.text


@pytest.mark.slow
def test_a_stray_file_is_a_warning(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    (dataset / "stray.txt").write_text("x")
    with caplog.at_level(logging.WARNING):
        said = validate_dataset(dataset)
    assert said == "The BIDS validator was run on all participants: 2 errors."
    assert "NOT_INCLUDED /stray.txt" in caplog.text


@pytest.mark.slow
def test_only_the_selected_participants_are_validated(dataset: Path) -> None:
    (dataset / "sub-02/dwi").mkdir(parents=True)
    (dataset / "sub-02/dwi/sub-02_dwi.bval").write_text("0 1000\n")
    assert validate_dataset(dataset, ["02"]) == "The BIDS validator was run on 1 participants: 0 errors."
    assert "1 errors" in validate_dataset(dataset, ["01"])


def test_a_missing_validator_is_reported(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bids_alps.io.validation.find_validator", lambda: None)
    assert validate_dataset(dataset) == "The BIDS validator was not run: bids-validator-deno is not installed."


@pytest.mark.slow
def test_an_error_of_the_dataset_stops_the_program(dataset: Path) -> None:
    (dataset / "dataset_description.json").write_text("{}")
    with pytest.raises(InvalidBidsError, match="dataset_description"):
        validate_dataset(dataset)
